"""Put a tuned text encoder in the place of another program's, and back."""
