"""Image search: an index of pictures, queries in words, base and tuned side by side."""
