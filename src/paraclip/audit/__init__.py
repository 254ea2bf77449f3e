"""Manual review of paraphrases: a sheet to mark in the browser, and rates from the marks."""
