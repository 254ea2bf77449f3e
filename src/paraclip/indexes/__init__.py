"""Indexes of ParaCLIP and of other programs: their rows, and which image tower made them."""
