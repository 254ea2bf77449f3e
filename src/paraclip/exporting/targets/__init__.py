"""Systems that run CLIP: one module each, with the reference to the code that loads the files."""
