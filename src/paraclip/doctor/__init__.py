"""What this machine has, what is missing, and what ParaCLIP keeps on its disk."""
