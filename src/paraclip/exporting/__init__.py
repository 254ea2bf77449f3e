"""Tuned models in the layouts that other systems load, and the checks before they are used."""
