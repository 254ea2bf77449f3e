"""Storage of an index: a LanceDB folder, or PostgreSQL with pgvector."""
