"""One module per benchmark: its data, its figures, its registry hooks."""
