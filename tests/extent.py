"""How much the tests try: little in the fast suite (`make test`), more in `make test-all`.

`make test-all` sets the environment variable PARACLIP_TESTS to `all`.
"""

import os

ALL = os.environ.get("PARACLIP_TESTS") == "all"
KILLS = 30 if ALL else 4
"""Points of a run at which it is killed and resumed."""
EXAMPLES = 200 if ALL else 25
"""Examples of each property that hypothesis tries."""
