"""`pprm`, and `python -m worker`.

A worker can be stopped from its first moment on, while the imports take seconds.
"""

import sys

from worker.ops import stop


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:2] == ["worker"]:
        stop.at_once()
    from worker.cli import app as cli

    cli.main()


if __name__ == "__main__":
    main()
