"""The blocking client. `lakekeep.aio` has the same classes for asyncio."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal, Optional, Union, overload

from typing_extensions import Unpack

from ._core import accounts as account_ops
from ._core import files as file_ops
from ._core import run as runs
from ._core import sandboxes as ops
from ._core import tasks
from ._core.calls import Api
from ._core.target import ConnectOptions, endpoint
from ._sync import Driver, blocking, blocking_as, iterating, iterating_as
from .models import SandboxInfo
from .outcome import CompletedTask


class Stdin(tasks.StdinBase):
    """A task's input."""

    write = blocking(tasks.write)
    close = blocking(tasks.end_input)


class Task(tasks.TaskBase):
    """A running command: iterate it for its output, as (`stdout` or `stderr`, bytes).

    Its streams are taken up again by themselves when the connection is lost, without
    loss and without repetition. At most 256 KiB of output wait here; more stays at the
    manager until it is taken. Leaving the `with` block kills it, unless it is detached.
    """

    def __init__(self, api: Api, args: tuple[str, ...], following: tasks.Following) -> None:
        """For a sandbox's own use."""
        super().__init__(api, args, following)
        self.stdin = Stdin(self)

    wait = blocking(tasks.wait)
    kill = blocking(tasks.kill)
    signal = blocking(tasks.send_signal)
    resize = blocking(tasks.resize)
    close = blocking(tasks.close_task)
    attach = blocking_as(tasks.attach_again, lambda task, found: Task(task, *found))
    output = iterating(tasks.outputs)

    def __iter__(self) -> Generator[tuple[str, bytes], None, None]:
        """Its output, as of `output`."""
        return self.output()

    def __enter__(self) -> Task:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Kills it unless it has ended or is detached."""
        self._driver.run(tasks.leave_task(self))


def _task(sandbox: ops.SandboxBase, found: tuple[tuple[str, ...], tasks.Following]) -> Task:
    return Task(sandbox, *found)


class Files(file_ops.FilesBase):
    """The files of one sandbox, as its user sees them. Paths inside are absolute."""

    read = blocking(file_ops.read)
    stream = iterating(file_ops.stream_file)
    download = blocking(file_ops.download)
    write = blocking(file_ops.write)
    upload = blocking(file_ops.upload)
    list = blocking(file_ops.list_files)


class Sandbox(ops.SandboxBase):
    """A sandbox. Leaving the `with` block ends it with everything in it."""

    def __init__(self, api: Api, info: SandboxInfo) -> None:
        """For a client's own use."""
        super().__init__(api, info)
        self.files = Files(self, info.id)

    @overload
    def run(
        self,
        argv: Sequence[tasks.Argument],
        *,
        text: Literal[False] = False,
        **options: Unpack[runs.RunOptions],
    ) -> CompletedTask[bytes]: ...

    @overload
    def run(
        self,
        argv: Sequence[tasks.Argument],
        *,
        text: Literal[True],
        **options: Unpack[runs.RunOptions],
    ) -> CompletedTask[str]: ...

    def run(
        self,
        argv: Sequence[tasks.Argument],
        *,
        text: bool = False,
        **options: Unpack[runs.RunOptions],
    ) -> Union[CompletedTask[bytes], CompletedTask[str]]:
        """Runs a command to its end, like `subprocess.run`.

        Args:
            argv: The program and its arguments.
            text: The output is text; what is no UTF-8 becomes U+FFFD.
            options: See `RunOptions`.

        Raises:
            TaskFailed: It failed, with `check=True`.
            TaskTimeout: It ran longer than `timeout`.
            OutputTooLarge: It printed more than `capture_limit`.
            LakekeepError: As of `exec`.
        """
        if text:
            done: CompletedTask[str] = self._driver.run(runs.run_text(self, self.id, argv, options))
            return done
        raw: CompletedTask[bytes] = self._driver.run(runs.run(self, self.id, argv, options))
        return raw

    exec = blocking_as(ops.exec_task, _task)
    attach = blocking_as(ops.attach, _task)
    refresh = blocking(ops.refresh)
    freeze = blocking(ops.freeze)
    thaw = blocking(ops.thaw)
    kill = blocking(ops.kill)
    signal = blocking(ops.signal)
    receipt = blocking(ops.receipt)
    verdict = blocking(ops.verdict)
    stats = blocking(ops.use)
    attach_volume = blocking(ops.attach_volume)

    def __enter__(self) -> Sandbox:
        """Itself."""
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *error: object) -> None:
        """Ends it."""
        self._driver.run(ops.kill_at_exit(self, kind is not None))


def _sandbox(api: Api, info: SandboxInfo) -> Sandbox:
    return Sandbox(api, info)


class Sandboxes(Api):
    """All sandboxes."""

    create = blocking_as(ops.create, _sandbox)
    claim = blocking_as(ops.claim, _sandbox)
    get = blocking_as(ops.get, _sandbox)
    list = iterating_as(ops.list_all, _sandbox)
    events = iterating(ops.events)
    stats = blocking(ops.stats)
    watch = iterating(ops.watch)


class Accounts(Api):
    """Who the caller is, and what it may do."""

    whoami = blocking(account_ops.whoami)
    test_identity = blocking(account_ops.try_identity)
    delegate = blocking(account_ops.delegate)
    revoke = blocking(account_ops.revoke)
    can = blocking(account_ops.can)


class Profiles(Api):
    """Profiles."""

    get = blocking(account_ops.get_profile)
    put = blocking(account_ops.put_profile)
    list = blocking(account_ops.list_profiles)
    delete = blocking(account_ops.delete_profile)


class Variables(account_ops.SecretsBase):
    """Variables of the user, of projects and of profiles."""

    set = blocking(account_ops.set_variable)
    delete = blocking(account_ops.delete_variable)
    list = blocking(account_ops.list_variables)


class Secrets(Variables):
    """Secrets; a secret's value is never told."""

    _SECRET = True


class Audit(Api):
    """The audit log."""

    query = iterating(account_ops.query_audit)
    verify = blocking(account_ops.verify_audit)


class Client(Api):
    """A manager, as one caller sees it. May be used from several threads."""

    def __init__(self, driver: Driver) -> None:
        """Use `connect`."""
        super().__init__(driver, driver.endpoint)
        self.sandboxes = Sandboxes(driver, driver.endpoint)
        self.accounts = Accounts(driver, driver.endpoint)
        self.profiles = Profiles(driver, driver.endpoint)
        self.variables = Variables(driver, driver.endpoint)
        self.secrets = Secrets(driver, driver.endpoint)
        self.audit = Audit(driver, driver.endpoint)

    def close(self) -> None:
        """Ends the connection. Detached tasks and all sandboxes go on."""
        self._driver.close()

    def __repr__(self) -> str:
        """Where the manager is."""
        return f"<Client of {self._endpoint.name}>"

    def __enter__(self) -> Client:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the connection."""
        self.close()


def connect(target: Optional[Union[str, Path]] = None, **options: Unpack[ConnectOptions]) -> Client:
    """Connects to a manager.

    Args:
        target: Its Unix socket's path, or `https://HOST:PORT`; what LAKEKEEP_SOCKET
            says when None.
        options: See `ConnectOptions`.

    Raises:
        BadTarget: The target, a token or a certificate cannot be used.
        Unreachable: Nothing answers there.
        Unauthenticated: The manager does not know the caller.
    """
    client = Client(Driver(endpoint(target, options)))
    if client._endpoint.check:
        try:
            client.accounts.whoami()
        except BaseException:
            client.close()
            raise
    return client
