"""Scripts that load an export in each system's own environment and embed texts.

Arguments of each: FOLDER TEXTS.json VECTORS.npy (the export, a list of texts, the output file).
None of them imports ParaCLIP.
"""
