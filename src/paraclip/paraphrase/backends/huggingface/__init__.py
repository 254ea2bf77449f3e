"""A causal language model from Hugging Face's `transformers` in this process, in batches."""
