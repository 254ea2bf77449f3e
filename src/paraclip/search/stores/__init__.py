"""Where an index is kept: a LanceDB folder, or PostgreSQL with pgvector."""
