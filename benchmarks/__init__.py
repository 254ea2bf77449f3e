"""Measurements: modules of one command each, `python -m benchmarks.FOLDER.NAME`."""
