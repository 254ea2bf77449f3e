"""`paraclip index`: incremental, from pictures to rows of a store."""
