"""Ablations: a grid of variants over seeds, and one table of their gains."""
