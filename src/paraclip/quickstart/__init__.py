"""The whole job on a folder of pictures: what `make demo` runs."""
