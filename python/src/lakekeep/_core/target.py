"""Where the manager is, and who the caller is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, Union
from urllib.parse import urlsplit

from typing_extensions import TypedDict

from lakekeep.errors import BadTarget

# Where clients are told which manager to speak to.
VARIABLE = "LAKEKEEP_SOCKET"
# The request metadata that carries a delegation token, beside the caller's own proof.
DELEGATION_KEY = "lakekeep-delegation"
# The one that names for whom an engine acts by a right of its own.
ON_BEHALF_OF_KEY = "lakekeep-on-behalf-of"
# `sun_path` of unix(7), less the final NUL.
LONGEST_PATH = 107
# The longest token that is read from a file, bytes.
LONGEST_TOKEN = 64 << 10

Token = Union[str, Path, Callable[[], str]]


class ConnectOptions(TypedDict, total=False):
    """What `connect` takes.

    Attributes:
        token: A bearer token (JWT): its text, a `Path` to a file that is read for
            each request, or a function that is called for each request, from any
            thread.
        delegation: A token from `accounts.delegate`, with which this caller acts for
            another user; as `token`.
        on_behalf_of: The user for whom this caller acts by a right that an
            administrator gave it.
        ca_file: The certificates that may vouch for the manager, PEM; the system's
            when not given.
        client_certificate: A file with this client's certificate chain, PEM.
        client_key: A file with its private key, PEM.
        server_name: The name in the manager's certificate, where it is not the host's.
        timeout: Seconds that a request may take, 60; None for ever. Not of streams.
        retry_for: Seconds in which a request that can be repeated is tried again, 10.
        reconnect_for: Seconds in which a task's lost streams are taken up again, 60.
        keepalive: Seconds between signs of life on an open stream, 30.
        check: Ask the manager who the caller is before anything else, True.
    """

    token: Optional[Token]
    delegation: Optional[Token]
    on_behalf_of: Optional[str]
    ca_file: Optional[Union[str, Path]]
    client_certificate: Optional[Union[str, Path]]
    client_key: Optional[Union[str, Path]]
    server_name: Optional[str]
    timeout: Optional[float]
    retry_for: float
    reconnect_for: float
    keepalive: float
    check: bool


@dataclass(frozen=True)
class Tls:
    """PEM texts; no field is ever shown."""

    ca: Optional[bytes] = field(repr=False)
    certificate: Optional[bytes] = field(repr=False)
    key: Optional[bytes] = field(repr=False)


@dataclass
class Endpoint:
    """A checked target with everything that a driver needs."""

    # What a person calls it.
    name: str
    # What gRPC calls it.
    address: str
    tls: Optional[Tls]
    server_name: Optional[str]
    token: Optional[Token] = field(repr=False)
    delegation: Optional[Token] = field(repr=False)
    on_behalf_of: Optional[str]
    timeout: Optional[float]
    retry_for: float
    reconnect_for: float
    keepalive: float
    check: bool
    # A manager has answered.
    reached: bool = False

    def blocking_metadata(self) -> bool:
        """Whether `metadata` may block: it reads files or calls functions."""
        given = (self.token, self.delegation)
        return any(token is not None and not isinstance(token, str) for token in given)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Who calls, for one request."""
        found = []
        if self.token is not None:
            found.append(("authorization", f"Bearer {_token(self.token, 'token')}"))
        if self.delegation is not None:
            found.append((DELEGATION_KEY, _token(self.delegation, "delegation")))
        if self.on_behalf_of is not None:
            found.append((ON_BEHALF_OF_KEY, _token(self.on_behalf_of, "on_behalf_of")))
        return tuple(found)

    def channel_options(self) -> list[tuple[str, Union[str, int]]]:
        """gRPC's channel arguments."""
        millis = max(1000, int(self.keepalive * 1000))
        options: list[tuple[str, Union[str, int]]] = [
            ("grpc.primary_user_agent", "lakekeep-python"),
            ("grpc.keepalive_time_ms", millis),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
            # Retries are ours: gRPC's do not know what is idempotent.
            ("grpc.enable_retries", 0),
            # A bound on what a stream that nobody reads takes up here.
            ("grpc.http2.bdp_probe", 0),
            # A manager that is restarted is back soon.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # Closing a client closes its connection.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.tls is None:
            # Else it would be the socket's path, which HTTP/2 servers refuse.
            options.append(("grpc.default_authority", "localhost"))
            # No proxy stands before a Unix socket.
            options.append(("grpc.enable_http_proxy", 0))
        elif self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
            options.append(("grpc.default_authority", self.server_name))
        return options


def endpoint(
    target: Optional[Union[str, Path]],
    options: ConnectOptions,
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Checks everything that can be checked without the manager."""
    unknown = sorted(set(options) - set(ConnectOptions.__annotations__))
    if unknown:
        raise TypeError(f"connect: unknown option {unknown[0]!r}")
    name = os.fspath(target) if target is not None else environment.get(VARIABLE, "")
    if not name:
        raise BadTarget(
            "no manager is named",
            remedy=f"set {VARIABLE} to its socket's path or to https://HOST:PORT, or give it to"
            " connect; `lakekeep serve` starts one",
        )
    for option in ("timeout", "retry_for", "reconnect_for", "keepalive"):
        limit = options.get(option)
        if limit is not None and not (isinstance(limit, (int, float)) and limit >= 0):
            raise BadTarget(f"{option}: {limit!r} is no number of seconds")
    address, secure = _address(name)
    if not secure:
        _refuse_tls(name, options)
    return Endpoint(
        name=name,
        address=address,
        tls=_tls(options) if secure else None,
        server_name=options.get("server_name"),
        token=options.get("token"),
        delegation=options.get("delegation"),
        on_behalf_of=options.get("on_behalf_of"),
        timeout=options.get("timeout", 60.0),
        retry_for=options.get("retry_for", 10.0),
        reconnect_for=options.get("reconnect_for", 60.0),
        keepalive=options.get("keepalive", 30.0),
        check=options.get("check", True),
    )


def _address(name: str) -> tuple[str, bool]:
    """What gRPC calls it, and whether it is to be TLS."""
    if name.startswith("https://"):
        return _host_and_port(name), True
    path = name[len("unix:") :] if name.startswith("unix:") else name
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if "://" in name and not name.startswith("unix:"):
        raise BadTarget(
            f"{name}: not an address of a manager",
            remedy="write https://HOST:PORT, or a socket's absolute path",
        )
    path = os.path.abspath(path)
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise BadTarget(
            f"{path}: longer than the {LONGEST_PATH} bytes that a socket's path can have",
            remedy="use a shorter path, by a symbolic link for one",
        )
    return f"unix:{path}", False


def _host_and_port(name: str) -> str:
    remedy = "write https://HOST:PORT"
    try:
        parts = urlsplit(name)
        port = parts.port
    except ValueError as error:
        raise BadTarget(f"{name}: {error}", remedy=remedy) from None
    if not parts.hostname or port is None or parts.username is not None:
        raise BadTarget(f"{name}: no host and port", remedy=remedy)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadTarget(f"{name}: more than a host and a port", remedy=remedy)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


def _tls(options: ConnectOptions) -> Tls:
    certificate, key = options.get("client_certificate"), options.get("client_key")
    if (certificate is None) != (key is None):
        raise BadTarget(
            "client_certificate and client_key belong together", remedy="give both or neither"
        )
    return Tls(
        ca=_pem(options.get("ca_file"), "ca_file"),
        certificate=_pem(certificate, "client_certificate"),
        key=_pem(key, "client_key"),
    )


def _refuse_tls(name: str, options: ConnectOptions) -> None:
    given = [
        option
        for option in ("ca_file", "client_certificate", "client_key", "server_name")
        if options.get(option) is not None
    ]
    if given:
        raise BadTarget(
            f"{given[0]}: {name} is a Unix socket, which has no TLS",
            remedy=f"leave {given[0]} out, or connect to https://HOST:PORT",
        )


def _pem(path: Optional[Union[str, Path]], option: str) -> Optional[bytes]:
    if path is None:
        return None
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise BadTarget(f"{option}: {path}: {error.strerror}") from error
    # gRPC says nothing of use about a file that is none.
    if b"-----BEGIN " not in text:
        raise BadTarget(f"{option}: {path}: not PEM", remedy="convert it to PEM")
    return text


def _token(token: Token, option: str) -> str:
    """The token's text; no error shows any of it."""
    if isinstance(token, Path):
        try:
            with token.open("rb") as file:
                text = file.read(LONGEST_TOKEN + 1).decode("utf-8", "replace").strip()
        except OSError as error:
            raise BadTarget(f"{option}: {token}: {error.strerror}") from error
    elif callable(token):
        text = token().strip()
    else:
        text = token.strip()
    if not text or len(text) > LONGEST_TOKEN or not all("!" <= char <= "~" for char in text):
        raise BadTarget(
            f"{option}: empty, too long, or with characters that it cannot have",
            remedy="give it alone, without `Bearer` and without spaces",
        )
    return text
