"""A place where attacks are tried: outside, in a plain worker, then inside a sandbox."""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any, Callable

import pyarrow as pa
import pyarrow.compute as pc
from udf import host
from udf.attacks import hijack
from udf.bare import Bare

from lakekeep.udf import Broker, Function, Session, Settings

WORDS = pa.schema([("word", pa.string())])
# What an engine has in its environment and nobody else may have.
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA-of-the-engine",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-engine",
    "AWS_SESSION_TOKEN": "session-of-the-engine",
    "DATABRICKS_TOKEN": "dapi-of-the-engine",
    "GOOGLE_APPLICATION_CREDENTIALS": "/root/of-the-engine.json",
}
Attack = Callable[..., str]


def reporting(attack: Attack) -> Callable[[Any], str]:
    """The attack as a function of a column of words, which answers with what it tells.

    What the kernel refuses it is told as `refused` and the errno's name.
    """
    names = dict(errno.errorcode)

    def run(column: Any) -> str:
        try:
            return attack(*column.to_pylist())
        except OSError as error:
            return f"refused {names.get(error.errno or 0, error)}"

    # So that the attack's module is sent along with it.
    run.__module__ = attack.__module__
    return run


@dataclass
class Arena:
    """Runs attacks, each in a session of its own."""

    bare: Bare
    real: host.Recording
    sessions: list[Session] = field(default_factory=list)

    def opened(self, broker: Broker, function: Any, returns: Any = "string", **options: Any) -> Any:
        kind = options.pop("kind", "aggregate")
        given = options.pop("given", WORDS)
        # What only the tests have is sent along.
        sent = [hijack, sys.modules[function.__module__]]
        options = {"timeout": 60, "by_value": sent, "broker": broker, **options}
        settings = Settings.of(options)  # type: ignore[arg-type]
        declared = Function.of(function, kind, returns, settings.by_value)
        session = Session(declared, given, settings)
        self.sessions.append(session)
        return session

    def run(self, broker: Broker, attack: Attack, *words: str, **options: Any) -> str:
        with self.opened(broker, reporting(attack), **options) as session:
            return self.ask(session, *words)

    @staticmethod
    def ask(session: Session, *words: str) -> str:
        batch = pa.RecordBatch.from_arrays([pa.array(words, "string")], schema=WORDS)
        return str(session.call(batch).column(0)[0].as_py())

    def outside(self, attack: Attack, *words: str, **options: Any) -> str:
        """What the attack tells in a plain worker, as the engine's own user."""
        return self.run(self.bare, attack, *words, **options)

    def inside(self, attack: Attack, *words: str, **options: Any) -> str:
        """What it tells in a sandbox."""
        return self.run(self.real, attack, *words, **options)

    def close(self) -> None:
        """Ends all its sessions."""
        for session in self.sessions:
            session.close()
        self.bare.close()


def engine_state() -> dict[str, Any]:
    """What of the engine's process an attack could have changed."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "environment": dict(os.environ) | {"PYTEST_CURRENT_TEST": ""},
        "directory": os.getcwd(),
        "mask": mask,
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "functions": (pc.add, pa.array, pa.ipc.read_record_batch, os.system, open),
        "children": host.children(os.getpid()),
    }
