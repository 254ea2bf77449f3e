"""Two-step paraphrases by a large language model: prompts, backends, log, filters."""
