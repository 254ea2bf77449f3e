"""Readers of indexes: one function for each store."""
