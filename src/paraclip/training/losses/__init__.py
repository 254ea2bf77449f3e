"""Contrastive losses, the pairs that they compare, and their temperatures."""
