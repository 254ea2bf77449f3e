"""What changes when a text encoder is replaced: the index's origin, and the user's own queries."""
