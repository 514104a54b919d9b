"""How operations become methods."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    P = ParamSpec("P")
    C = TypeVar("C", contravariant=True)
    T = TypeVar("T", covariant=True)

    class BoundMethod(Generic[C, P, T]):
        """What type checkers see of a method made of an operation: at run time it is
        a plain function."""

        def __get__(self, instance: C, owner: Optional[type[Any]] = None) -> Callable[P, T]:
            """Binds it."""


def result_signature(method: Callable[..., Any], shape: Optional[str]) -> Callable[..., Any]:
    """Gives a method the signature that `help` shows: `shape` around the operation's
    result, or no result at all."""
    signature = inspect.signature(method)
    result: Any = inspect.Signature.empty
    found = str(signature.return_annotation)
    if shape is not None and found.endswith("]"):
        result = shape.format(found[found.index("[") + 1 : -1])
    method.__signature__ = signature.replace(return_annotation=result)  # type: ignore[attr-defined]
    return method
