"""`paraclip` and `python -m paraclip`: Ctrl-C prints one line even while modules are imported."""

import sys


def main() -> int:
    """Entry point of the `paraclip` script; returns the exit code."""
    try:
        from paraclip.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("\nparaclip: interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
