"""What paraphrase, negatives and evaluation need to know about English."""
