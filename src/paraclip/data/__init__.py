"""Reading captions and pictures, and the triples file."""
