"""`python -m paraclip` is `paraclip`."""

import sys

from paraclip.cli import main

sys.exit(main())
