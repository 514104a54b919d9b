"""Which environment a function's sandboxes show: this interpreter's, captured, or another."""

from __future__ import annotations

from typing import Callable, Optional, Union

from .. import _capture
from ._errors import EnvironmentDrift, EnvironmentFailed

AUTO = "auto"

# True and `"auto"` are this interpreter's own, with the function's local modules; text is the
# digest of one that was captured; None is none: the sandbox shows the host's interpreter.
Wanted = Union[str, bool, _capture.Environment, None]


class Chosen:
    """A function's environment, found when its first sandbox is made."""

    def __init__(self, function: Callable[..., object], wanted: Wanted, interpreter: str) -> None:
        """Looks at nothing yet."""
        self._function = function
        self._wanted = wanted
        self._interpreter = interpreter
        self._digest: Optional[str] = None

    def digest(self) -> Optional[str]:
        """Its digest; None when the sandbox is to show the host's interpreter.

        What is captured is captured once, and what is given is compared once: the function is
        the one of that moment, too. Threads that ask at once find the same.

        Raises:
            EnvironmentDrift: The environment has other things than this interpreter.
            EnvironmentFailed: It cannot be captured, or is not there.
        """
        if self._wanted is None or self._wanted is False:
            return None
        if self._digest is None:
            try:
                self._digest = self._find()
            except _capture.CaptureFailed as error:
                raise EnvironmentFailed(error.message, remedy=error.remedy) from error
        return self._digest

    def _find(self) -> str:
        wanted = self._wanted
        if wanted is True or wanted == AUTO:
            return _capture.capture(self._function, python=self._interpreter).digest
        given = wanted.digest if isinstance(wanted, _capture.Environment) else str(wanted)
        found = _capture.differences(given, self._function, python=self._interpreter)
        if found:
            command = _capture.capture_command(self._function, self._interpreter)
            raise EnvironmentDrift(given, found, command)
        return given
