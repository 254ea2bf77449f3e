"""Metrics, rankings, vectors, intervals, significance and cached scores."""
