"""A tuned encoder in another program's cache, and back; first, what that changes for queries."""
