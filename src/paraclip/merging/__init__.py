"""Mixtures of base and tuned: one share, or a sweep over shares with its knee."""
