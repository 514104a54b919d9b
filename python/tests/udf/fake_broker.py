"""Stands where `lakekeep udf-broker` does, for tests of its client: workers, no sandboxes.

Run as `fake_broker udf-broker --control FD`. What it was asked is written to the file that
FAKE_BROKER_LOG names; `profile` has it misbehave: `refuse`, `oom`, `silent`, `die`,
`lost`.
"""

from __future__ import annotations

import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().parents[3] / "udf" / "worker"
SOURCE: str = runpy.run_path(str(WORKER / "joined.py"))["source"]()


def verdict(code: int, profile: str) -> dict[str, Any]:
    if profile == "oom":
        return {"kind": "out_of_memory", "limit": 1000, "explanation": "too much"}
    if code >= 0:
        return {"kind": "exit", "exit_code": code, "explanation": ""}
    return {"kind": "signal", "exit_code": 128 - code, "signal": -code}


class FakeBroker:
    """One control socket."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.workers: dict[int, tuple[subprocess.Popen[bytes], str]] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, 0)

    def tell(self, kind: str, **told: Any) -> None:
        self.control.send(json.dumps({kind: told}).encode())

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.data:
                    self.over(key.data, key.fd)
                    continue
                packet, descriptors, _, _ = socket.recv_fds(self.control, 1 << 16, 3)
                if not packet:
                    for worker, _ in self.workers.values():
                        worker.kill()
                    return
                with open(os.environ["FAKE_BROKER_LOG"], "a") as log:
                    log.write(packet.decode() + "\n")
                self.asked(json.loads(packet), descriptors)

    def asked(self, request: dict[str, Any], descriptors: list[int]) -> None:
        if "kill" in request:
            number = request["kill"]["number"]
            if number in self.workers:
                self.workers[number][0].kill()
            return
        opened = request["open"]
        number, profile = opened["number"], opened["profile"] or ""
        if profile == "die":
            os._exit(1)
        if profile == "refuse":
            self.tell("failed", number=number, message="the queue is full", remedy="wait")
        elif profile != "silent":
            command = [opened["interpreter"], "-c", SOURCE]
            data, out, err = descriptors
            worker = subprocess.Popen(command, stdin=data, stdout=out, stderr=err)
            self.workers[number] = (worker, profile)
            self.selector.register(os.pidfd_open(worker.pid), selectors.EVENT_READ, number)
            self.tell("opened", number=number, sandbox=f"fake-{number}")
        for descriptor in descriptors:
            os.close(descriptor)

    def over(self, number: int, pidfd: int) -> None:
        worker, profile = self.workers.pop(number)
        told = verdict(worker.wait(), profile)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        if profile == "lost":
            self.tell("failed", number=number, message="its launcher is gone", remedy="look")
            return
        self.tell("ended", number=number, verdict=told, memory_peak=999, cpu_us=1_500_000)


if __name__ == "__main__":
    assert sys.argv[1:3] == ["udf-broker", "--control"]
    FakeBroker(socket.socket(fileno=int(sys.argv[3]))).run()
