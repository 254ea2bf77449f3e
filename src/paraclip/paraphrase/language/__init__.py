"""Linguistic knowledge of English for paraphrasing, negatives and evaluation."""
