"""How much the tests try, little in the fast suite (`make test`), more in `make test-all`, on which
data.

`make test-all` sets the environment variable PARACLIP_TESTS to `all`.
"""

import os
from pathlib import Path

ALL = os.environ.get("PARACLIP_TESTS") == "all"
KILLS = 8 if ALL else 4
"""Points of a run at which it is killed and resumed."""
EXAMPLES = 200 if ALL else 25
"""Examples of each property that hypothesis tries."""
DATA = Path(os.environ.get("PARACLIP_DATA") or "PARACLIP_DATA-is-not-set")
"""Folder of the research data."""
