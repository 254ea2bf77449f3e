"""Inputs of benchmarks: pairs, pools, pictures, tables of rows, wordings."""
