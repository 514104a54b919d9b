"""Stands where `lakekeep udf-broker --control 0` does, for tests alone: no sandboxes.

Workers are plain processes of the source tree's worker.
"""

from __future__ import annotations

import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().parents[4] / "udf" / "worker"
SOURCE: str = runpy.run_path(str(WORKER / "joined.py"))["source"]()


class Broker:
    """Serves the engine at the other end of descriptor 0 until it closes it."""

    def __init__(self) -> None:
        self.control = socket.socket(fileno=os.dup(0))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.control, selectors.EVENT_READ, None)
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    if not self.hear():
                        return
                else:
                    self.ended(key.fd, key.data)

    def hear(self) -> bool:
        packet, given, _, _ = socket.recv_fds(self.control, 1 << 16, 8)
        if not packet:
            return False
        for word, told in json.loads(packet).items():
            if word == "open":
                self.open(told, given)
            elif told["number"] in self.workers:
                self.workers[told["number"]].kill()
        return True

    def open(self, told: dict[str, Any], given: list[int]) -> None:
        number = told["number"]
        worker = subprocess.Popen(
            [told["interpreter"], "-c", SOURCE], stdin=given[0], stdout=given[1], stderr=given[2]
        )
        for descriptor in given:
            os.close(descriptor)
        self.workers[number] = worker
        self.selector.register(os.pidfd_open(worker.pid), selectors.EVENT_READ, number)
        self.say({"opened": {"number": number, "sandbox": f"bare-{worker.pid}"}})

    def ended(self, pidfd: int, number: int) -> None:
        code = self.workers.pop(number).wait()
        self.selector.unregister(pidfd)
        os.close(pidfd)
        verdict: dict[str, Any] = {"kind": "exit", "exit_code": code, "explanation": ""}
        if code < 0:
            verdict = {"kind": "signal", "exit_code": 128 - code, "signal": -code}
            verdict["explanation"] = ""
        told = {"number": number, "verdict": verdict, "memory_peak": 0, "cpu_us": 0}
        self.say({"ended": told})

    def say(self, answer: dict[str, Any]) -> None:
        self.control.send(json.dumps(answer).encode(), socket.MSG_NOSIGNAL)

    def end(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()


def main() -> None:
    if sys.argv[1:] != ["udf-broker", "--control", "0"]:
        sys.exit(f"unexpected: {sys.argv[1:]}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    broker = Broker()
    try:
        broker.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        broker.end()


if __name__ == "__main__":
    main()
