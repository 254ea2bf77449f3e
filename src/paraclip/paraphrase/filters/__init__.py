"""Filters: cleaning of answers, checks without a model, checks on MiniLM's vectors."""
