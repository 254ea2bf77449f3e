"""How each system loads an export and embeds texts: scripts that run in its own environment.

Each takes FOLDER TEXTS.json VECTORS.npy: the export, a list of texts, and where the vectors go.
None of them imports ParaCLIP.
"""
