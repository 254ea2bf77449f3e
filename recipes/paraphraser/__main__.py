"""The command `paraclip`, whose `generate` also has the backend `smollm2`.

python -m recipes.paraphraser generate my_pictures --out runs/triples --backend smollm2
"""

import sys

import recipes.paraphraser.smollm2  # noqa: F401 registers the backend
from paraclip.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
