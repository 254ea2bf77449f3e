"""One module per benchmark: its data, its metrics and its registry hooks."""
