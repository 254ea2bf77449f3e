"""Benchmarks, intervals and the report that shows models side by side."""
