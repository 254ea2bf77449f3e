"""`paraclip index`: from pictures to rows of a store, incrementally."""
