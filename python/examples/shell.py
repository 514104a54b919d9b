"""A shell in a sandbox, in this terminal.

LAKEKEEP_SOCKET names the manager. The streams survive a restart of the manager.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import termios
import threading
import tty

import lakekeep


def type_into(task: lakekeep.Task) -> None:
    """Carries what is typed."""
    try:
        while data := os.read(0, 4096):
            task.stdin.write(data)
        task.stdin.close()
    except lakekeep.errors.Ended:
        return


def main() -> int:
    """Exits as the shell does."""
    size = shutil.get_terminal_size()
    saved = termios.tcgetattr(0)
    with lakekeep.connect() as client, client.sandboxes.create() as sandbox:
        task = sandbox.exec(["/bin/sh", "-i"], tty=(size.lines, size.columns))

        def resized(*_: object) -> None:
            now = shutil.get_terminal_size()
            task.resize(now.lines, now.columns)

        signal.signal(signal.SIGWINCH, resized)
        threading.Thread(target=type_into, args=(task,), daemon=True).start()
        tty.setraw(0)
        try:
            for _, data in task:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        return task.wait().exit_code


if __name__ == "__main__":
    sys.exit(main())
