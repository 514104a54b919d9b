"""The worker's program as one text, as source.rs makes it: for those who build nothing.

`python3 joined.py` prints it.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Each after those that it imports.
MODULES = ("wire", "failure", "batches", "function", "channel", "crash", "session")


def source() -> str:
    """What follows `python3 -c`."""
    modules = (f"'{name}': r'''{_text(f'lakekeep_worker/{name}.py')}'''," for name in MODULES)
    return "\n".join(("TEXTS = {", *modules, "}", _text("bundle.py")))


def _text(path: str) -> str:
    return (FOLDER / path).read_text()


if __name__ == "__main__":
    sys.stdout.write(source())
