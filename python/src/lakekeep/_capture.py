"""Capturing this interpreter's environment, with the local modules that a function needs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Union

from .errors import LakekeepError

# As diff(1) does.
_DIFFERS = 1
_REMEDY = "install the lakekeep binary, or name it in LAKEKEEP_BIN"


class CaptureFailed(LakekeepError):
    """The environment could not be captured; the message says what of it, and why."""

    REASON = "CAPTURE_FAILED"


@dataclass(frozen=True)
class Environment:
    """A captured environment, stored on this machine.

    Attributes:
        digest: Its name: BLAKE3 of its manifest, 64 hexadecimal digits. Equal environments
            have equal digests. `lakekeep run --environment DIGEST` runs with it.
        files: How many files it has.
        bytes: Their lengths together.
        notes: What was left out, and shared libraries that were not found.
        modules: Local modules that were added for the function.
    """

    digest: str
    files: int
    bytes: int
    notes: tuple[str, ...]
    modules: tuple[str, ...]


def capture(
    function: Optional[Callable[..., object]] = None,
    *,
    include: Iterable[Union[str, os.PathLike[str]]] = (),
    python: Optional[Union[str, os.PathLike[str]]] = None,
) -> Environment:
    """Stores this interpreter's environment, and answers with its digest.

    Stored are the interpreter, its standard library, all that is on its `sys.path` when it
    is started anew, editable installations, and the shared libraries that these need. The
    second time only what has changed is read. Where `LAKEKEEP_SOCKET` names a manager, it is
    stored there, and only what this user has not sent before is sent.

    Args:
        function: Also the local modules that it can reach by its names: those that are
            neither in the standard library nor on that `sys.path`, such as the script's
            neighbours.
        include: Also these files and folders.
        python: Another interpreter than this one.

    Raises:
        CaptureFailed: If there is no lakekeep binary, or it refuses.
    """
    modules = local_modules(function)
    what = _what(python, modules)
    for path in include:
        what += ["--include", os.path.abspath(path)]
    done = _run(["capture", "--json", *what])
    if done.returncode != 0:
        raise CaptureFailed(_message(done.stderr))
    told = json.loads(done.stdout)
    return Environment(
        digest=str(told["digest"]),
        files=int(told["files"]),
        bytes=int(told["bytes"]),
        notes=tuple(str(note) for note in told["notes"]),
        modules=tuple(modules),
    )


def differences(
    digest: str,
    function: Optional[Callable[..., object]] = None,
    *,
    python: Optional[Union[str, os.PathLike[str]]] = None,
) -> tuple[str, ...]:
    """What an environment has not as this interpreter has it now, a sentence each.

    Args:
        digest: The environment's.
        function: Also the local modules that it can reach; see `capture`.
        python: Another interpreter than this one.

    Raises:
        CaptureFailed: If there is no such environment, or it cannot be compared.
    """
    done = _run(["diff", digest, *_what(python, local_modules(function))])
    if done.returncode not in (0, _DIFFERS):
        raise CaptureFailed(_message(done.stderr))
    return tuple(done.stdout.decode("utf-8", "replace").splitlines())


def local_modules(function: Optional[Callable[..., object]]) -> list[str]:
    """Where the local modules are that a function can reach; see `capture`."""
    return [] if function is None else sorted(_local_modules(function))


def capture_command(
    function: Optional[Callable[..., object]] = None, python: Optional[str] = None
) -> str:
    """What one types into a shell to capture it."""
    return shlex.join(["lakekeep", "env", "capture", *_what(python, local_modules(function))])


def _what(python: Optional[Union[str, os.PathLike[str]]], modules: Iterable[str]) -> list[str]:
    words = ["--python", os.fspath(python or _executable())]
    for module in modules:
        words += ["--module", module]
    return words


def _run(words: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - the command is the user's own lakekeep
        [_binary(), "env", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


def _executable() -> str:
    if not sys.executable:
        raise CaptureFailed("this interpreter does not know its path", remedy="name it: python=…")
    return sys.executable


def _binary() -> str:
    binary = os.environ.get("LAKEKEEP_BIN") or shutil.which("lakekeep")
    if not binary:
        raise CaptureFailed("there is no lakekeep on PATH", remedy=_REMEDY)
    return binary


def _message(stderr: bytes) -> str:
    """The last message, which is a line of JSON."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            return str(json.loads(line)["message"])
        except (ValueError, KeyError, TypeError):
            continue
    return lines[-1] if lines else "lakekeep env capture failed without a word"


def _local_modules(function: Callable[..., object]) -> set[str]:
    """Files of modules, and folders of packages, that the function can reach."""
    found: set[str] = set()
    seen: set[int] = set()
    todo: list[object] = [function]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        module = one if isinstance(one, types.ModuleType) else _module_of(one)
        if module is not None and module.__name__ != "__main__":
            place = _place(module)
            if place is None:
                # The standard library, or installed: it is captured as a whole.
                continue
            found.add(place)
            todo.extend(vars(module).values())
        if not isinstance(one, types.ModuleType):
            todo.extend(_reached(one))
    return found


def _module_of(one: object) -> Optional[types.ModuleType]:
    name = getattr(one, "__module__", None)
    if not isinstance(one, (type, types.FunctionType)) or not isinstance(name, str):
        return None
    return sys.modules.get(name)


def _reached(one: object) -> Iterator[object]:
    """What a function's code names, and what it closes over; what a class has."""
    if isinstance(one, types.MethodType):
        yield one.__func__
        return
    if isinstance(one, type):
        yield from vars(one).values()
        yield from one.__bases__
        return
    wrapped = getattr(one, "__wrapped__", None)
    if callable(wrapped):
        yield wrapped
    if not isinstance(one, types.FunctionType):
        return
    for cell in one.__closure__ or ():
        # An empty cell is of a name that is not bound yet.
        try:
            yield cell.cell_contents
        except ValueError:
            continue
    for name in _names(one.__code__):
        if name in one.__globals__:
            yield one.__globals__[name]
        elif name in sys.modules:
            # Imported within the function.
            yield sys.modules[name]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _place(module: types.ModuleType) -> Optional[str]:
    """The module's file, or the folder of its outermost package; None: it is no local one."""
    outermost = sys.modules.get(module.__name__.partition(".")[0], module)
    file = getattr(outermost, "__file__", None)
    if not isinstance(file, str):
        return None
    path = Path(file).resolve()
    if path.name == "__init__.py":
        path = path.parent
    known = [Path(entry).resolve() for entry in _installed()]
    return None if any(folder in path.parents for folder in known) else str(path)


def _installed() -> list[str]:
    """Folders that a new interpreter has on its `sys.path` or beneath its prefixes."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [*folders, *filter(None, added), *_prefixes()]


def _prefixes() -> list[str]:
    """Prefixes that are Python's alone; of others, such as /usr, only the folders above."""
    both = (sys.prefix, sys.base_prefix)
    return [prefix for prefix in both if not prefix.startswith("/usr")]
