"""`python -m schemas [--check]`.

Write, or compare, the AsyncAPI document and the JSON Schemas made from the models.
"""

import difflib
import sys
from pathlib import Path

from schemas.document import files

FOLDER = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them; returns the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wrong = 0
    for name, text in files().items():
        path = FOLDER / name
        if not arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif (old := path.read_text() if path.is_file() else "") != text:
            wrong += 1
            print(f"{name} differs from the models; run `python -m schemas`", file=sys.stderr)
            sys.stderr.writelines(
                list(
                    difflib.unified_diff(
                        old.splitlines(True), text.splitlines(True), "file", "models"
                    )
                )[:20]
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
