"""Checkpoint formats of other systems: open_clip, Hugging Face, published files, hubs."""
