"""What is installed on this machine, what is missing, and what ParaCLIP's cache contains."""
