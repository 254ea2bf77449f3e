"""Contrastive losses, what they compare, and how warm they are."""
