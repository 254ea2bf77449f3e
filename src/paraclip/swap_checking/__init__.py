"""Effects of replacing a text encoder: the origin of the index, and the user's queries."""
