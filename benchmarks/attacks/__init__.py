"""The inputs of `bad_inputs.py`: one module for each kind."""
