"""The whole workflow on a folder of pictures: what `make demo` runs."""
