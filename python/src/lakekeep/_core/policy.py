"""Policy and profile documents become TOML."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any, Optional, Union

import tomli_w

from lakekeep.errors import BadPolicy, BadRequest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The longest document, bytes.
LONGEST = 1 << 20

Document = Union[str, Path, Mapping[str, Any]]


def policy_text(policy: Optional[Document], image: Optional[str]) -> str:
    """The policy as TOML, with `image` over its own; empty when there is neither."""
    if image is None:
        return document_text(policy) if policy is not None else ""
    fields: dict[str, Any] = {"version": 1}
    if policy is not None:
        fields.update(_parsed(policy))
    fields["image"] = image
    return document_text(fields)


def document_text(document: Document) -> str:
    """The document as TOML.

    Text is TOML already; a `Path` is read, as JSON if it ends in `.json`; a mapping
    is written out, `version = 1` with it unless it names another.
    """
    if isinstance(document, str):
        return document
    if isinstance(document, Path):
        text = _read(document)
        return text if document.suffix != ".json" else _dumped(_json(text, str(document)))
    return _dumped({"version": 1, **document})


def _dumped(fields: Mapping[str, Any]) -> str:
    try:
        return tomli_w.dumps({name: _plain(value, name) for name, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise BadPolicy(f"policy: {error}") from error


def _plain(value: Any, field: str) -> Any:
    """Without the kinds that TOML does not have."""
    if isinstance(value, timedelta):
        return f"{value // timedelta(milliseconds=1)}ms"
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner, f"{field}.{name}") for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, field) for inner in value]
    if value is None:
        raise BadPolicy(f"policy: {field}: None is no value", remedy="leave the field out")
    return value


def _parsed(policy: Document) -> Mapping[str, Any]:
    if isinstance(policy, Mapping):
        return {"version": 1, **policy}
    name = str(policy) if isinstance(policy, Path) else "policy"
    text = _read(policy) if isinstance(policy, Path) else policy
    if name.endswith(".json"):
        return _json(text, name)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"{name}: {error}") from error


def _json(text: str, name: str) -> Mapping[str, Any]:
    try:
        fields: Any = json.loads(text)
    except ValueError as error:
        raise BadPolicy(f"{name}: {error}") from error
    if not isinstance(fields, dict):
        raise BadPolicy(f"{name}: not an object", remedy="write {...}")
    found: dict[str, Any] = fields
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise BadPolicy(f"{path}: longer than {LONGEST} bytes")
        return text.decode()
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{path}: not UTF-8: {error.reason}") from error
