"""Draws the pictures of the benchmarks `scenes` and `probes` from plans of one line each."""
