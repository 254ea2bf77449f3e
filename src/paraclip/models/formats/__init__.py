"""Checkpoint formats of other systems: open_clip, Hugging Face, LaCLIP, published files, hubs."""
