"""A causal language model of Hugging Face's `transformers` in this process, in batches."""
