"""Ablations: a grid of variants over seeds, and one table of what each gains."""
