"""Tuned models in the layouts that other systems load, and checks before they are written."""
