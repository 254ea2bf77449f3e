"""Filters: cleaning of answers, checks without a model, similarity of sentences, the checker."""
