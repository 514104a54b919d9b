"""Runs a command in a sandbox of its own, and shows what was enforced.

LAKEKEEP_SOCKET names the manager. Try: python run.py python3 -c 'print(6 * 7)'
"""

from __future__ import annotations

import sys

import lakekeep


def main(command: list[str]) -> int:
    """Exits as the command does."""
    policy = {"preset": "general", "limits": {"memory": "256MiB", "wall_time": "30s"}}
    with lakekeep.connect() as client, client.sandboxes.create(policy=policy) as sandbox:
        done = sandbox.run(command, text=True, stdout=sys.stdout.buffer)
    print(done.stderr, end="", file=sys.stderr)
    if not done.ok:
        print(f"{done.verdict.explanation}; {done.verdict.remedy}", file=sys.stderr)
    if done.receipt is not None:
        held = sum(layer.enforced for layer in done.receipt.layers)
        print(f"{held} of {len(done.receipt.layers)} layers enforced", file=sys.stderr)
        for layer in done.receipt.unenforced:
            print(f"not enforced: {layer.layer}: {layer.reason}", file=sys.stderr)
    return done.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["echo", "hello"]))
