"""The inputs of `benchmarks/inputs/bad_inputs.py`: one module for each kind."""
