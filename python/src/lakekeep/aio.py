"""The asynchronous client: the classes of `lakekeep`, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Literal, Optional, Union, overload

from typing_extensions import Unpack

from ._async import Driver, awaiting, awaiting_as, iterating, iterating_as
from ._core import accounts as account_ops
from ._core import files as file_ops
from ._core import run as runs
from ._core import sandboxes as ops
from ._core import tasks
from ._core.calls import Api
from ._core.target import ConnectOptions, endpoint
from .models import SandboxInfo
from .outcome import CompletedTask


class Stdin(tasks.StdinBase):
    """A task's input."""

    write = awaiting(tasks.write)
    close = awaiting(tasks.end_input)


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

    wait = awaiting(tasks.wait)
    kill = awaiting(tasks.kill)
    signal = awaiting(tasks.send_signal)
    resize = awaiting(tasks.resize)
    close = awaiting(tasks.close_task)
    attach = awaiting_as(tasks.attach_again, lambda task, found: Task(task, *found))
    output = iterating(tasks.outputs)

    def __aiter__(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Its output, as of `output`."""
        return self.output()

    async def __aenter__(self) -> Task:
        """Itself."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Kills it unless it has ended or is detached."""
        await self._driver.run(tasks.leave_task(self))


def _task(sandbox: ops.SandboxBase, found: tuple[tuple[str, ...], tasks.Following]) -> Task:
    return Task(sandbox, *found)


class Files(file_ops.FilesBase):
    """The files of one sandbox, as its user sees them. Paths inside are absolute."""

    read = awaiting(file_ops.read)
    stream = iterating(file_ops.stream_file)
    download = awaiting(file_ops.download)
    write = awaiting(file_ops.write)
    upload = awaiting(file_ops.upload)
    list = awaiting(file_ops.list_files)


class Sandbox(ops.SandboxBase):
    """A sandbox. Leaving the `with` block ends it with everything in it."""

    def __init__(self, api: Api, info: SandboxInfo) -> None:
        """For a client's own use."""
        super().__init__(api, info)
        self.files = Files(self, info.id)

    @overload
    async def run(
        self,
        argv: Sequence[tasks.Argument],
        *,
        text: Literal[False] = False,
        **options: Unpack[runs.RunOptions],
    ) -> CompletedTask[bytes]: ...

    @overload
    async def run(
        self,
        argv: Sequence[tasks.Argument],
        *,
        text: Literal[True],
        **options: Unpack[runs.RunOptions],
    ) -> CompletedTask[str]: ...

    async def run(
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
            done: CompletedTask[str] = await self._driver.run(
                runs.run_text(self, self.id, argv, options)
            )
            return done
        raw: CompletedTask[bytes] = await self._driver.run(runs.run(self, self.id, argv, options))
        return raw

    exec = awaiting_as(ops.exec_task, _task)
    attach = awaiting_as(ops.attach, _task)
    refresh = awaiting(ops.refresh)
    freeze = awaiting(ops.freeze)
    thaw = awaiting(ops.thaw)
    kill = awaiting(ops.kill)
    signal = awaiting(ops.signal)
    receipt = awaiting(ops.receipt)
    verdict = awaiting(ops.verdict)
    stats = awaiting(ops.use)
    attach_volume = awaiting(ops.attach_volume)

    async def __aenter__(self) -> Sandbox:
        """Itself."""
        return self

    async def __aexit__(self, kind: Optional[type[BaseException]], *error: object) -> None:
        """Ends it."""
        await self._driver.run(ops.kill_at_exit(self, kind is not None))


def _sandbox(api: Api, info: SandboxInfo) -> Sandbox:
    return Sandbox(api, info)


class Sandboxes(Api):
    """All sandboxes."""

    create = awaiting_as(ops.create, _sandbox)
    claim = awaiting_as(ops.claim, _sandbox)
    get = awaiting_as(ops.get, _sandbox)
    list = iterating_as(ops.list_all, _sandbox)
    events = iterating(ops.events)
    stats = awaiting(ops.stats)
    watch = iterating(ops.watch)


class Accounts(Api):
    """Who the caller is, and what it may do."""

    whoami = awaiting(account_ops.whoami)
    test_identity = awaiting(account_ops.try_identity)
    delegate = awaiting(account_ops.delegate)
    revoke = awaiting(account_ops.revoke)
    can = awaiting(account_ops.can)


class Profiles(Api):
    """Profiles."""

    get = awaiting(account_ops.get_profile)
    put = awaiting(account_ops.put_profile)
    list = awaiting(account_ops.list_profiles)
    delete = awaiting(account_ops.delete_profile)


class Variables(account_ops.SecretsBase):
    """Variables of the user, of projects and of profiles."""

    set = awaiting(account_ops.set_variable)
    delete = awaiting(account_ops.delete_variable)
    list = awaiting(account_ops.list_variables)


class Secrets(Variables):
    """Secrets; a secret's value is never told."""

    _SECRET = True


class Audit(Api):
    """The audit log."""

    query = iterating(account_ops.query_audit)
    verify = awaiting(account_ops.verify_audit)


class Client(Api):
    """A manager, as one caller sees it. For one event loop."""

    def __init__(self, driver: Driver) -> None:
        """Use `connect`."""
        super().__init__(driver, driver.endpoint)
        self.sandboxes = Sandboxes(driver, driver.endpoint)
        self.accounts = Accounts(driver, driver.endpoint)
        self.profiles = Profiles(driver, driver.endpoint)
        self.variables = Variables(driver, driver.endpoint)
        self.secrets = Secrets(driver, driver.endpoint)
        self.audit = Audit(driver, driver.endpoint)

    async def close(self) -> None:
        """Ends the connection. Detached tasks and all sandboxes go on."""
        await self._driver.close()

    def __repr__(self) -> str:
        """Where the manager is."""
        return f"<Client of {self._endpoint.name}>"

    async def __aenter__(self) -> Client:
        """Itself, once the manager has answered."""
        if self._endpoint.check:
            try:
                await self.accounts.whoami()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Ends the connection."""
        await self.close()


def connect(target: Optional[Union[str, Path]] = None, **options: Unpack[ConnectOptions]) -> Client:
    """A client of a manager, for `async with`, which connects.

    Args:
        target: Its Unix socket's path, or `https://HOST:PORT`; what LAKEKEEP_SOCKET
            says when None.
        options: See `ConnectOptions`.

    Raises:
        BadTarget: The target, a token or a certificate cannot be used.
        Unreachable: Nothing answers there; from `async with`.
        Unauthenticated: The manager does not know the caller; from `async with`.
    """
    return Client(Driver(endpoint(target, options)))
