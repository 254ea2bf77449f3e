"""CLIP models: the built-in `mini`, any open_clip model, checkpoints, image features."""
