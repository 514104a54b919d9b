"""Makes src/lakekeep/v1 from the manager's proto files.

Run `pip install './python[generate]'` once, then `python python/generate.py`.
The result is committed, so that installing needs no protoc; a test compares it
with the proto files.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent / "manager" / "api" / "proto"


def generate(out: Path) -> int:
    """Writes the modules below `out`; returns the compiler's exit code."""
    from grpc_tools import protoc

    names = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))
    # Well-known types come with grpcio-tools.
    bundled = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{bundled}", f"--python_out={out}", f"--pyi_out={out}"]
    return int(protoc.main([*arguments, *names]))


if __name__ == "__main__":
    sys.exit(generate(HERE / "src"))
