"""Scenes drawn by code, with captions in many wordings: a benchmark that needs no data."""
