"""Systems that run CLIP: one module each, with references to the code that loads the files."""
