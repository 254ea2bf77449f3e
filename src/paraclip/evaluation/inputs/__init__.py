"""What benchmarks read: pairs, pools, pictures, tables of rows, wordings."""
