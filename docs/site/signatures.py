"""How functions are called, as text."""

from __future__ import annotations

import enum
import inspect
import re
import typing
from collections.abc import Callable

_WIDTH = 88


def signatures_of(
    function: Callable[..., object], *, method: bool = False
) -> list[inspect.Signature]:
    """How a function may be called: its overloads, else its own signature.

    Args:
        function: The function.
        method: Whether its first parameter is `self` or `cls`, which callers do not give.
    """
    found = [inspect.signature(each) for each in typing.get_overloads(function) or [function]]
    skipped = 1 if method else 0
    return [each.replace(parameters=list(each.parameters.values())[skipped:]) for each in found]


def shown_signature(start: str, signature: inspect.Signature, *, returns: bool = True) -> str:
    """A signature on one line, or on several where that is too long.

    Args:
        start: What stands before the parameters: `def enqueue`.
        signature: The signature.
        returns: Whether to say what comes back.
    """
    parts = list(_parts(signature))
    end = ")"
    if returns and signature.return_annotation is not inspect.Signature.empty:
        end += f" -> {shown_annotation(signature.return_annotation)}"
    line = f"{start}({', '.join(parts)}{end}"
    if len(line.rpartition("\n")[2]) <= _WIDTH:
        return line
    return "\n".join([f"{start}(", *(f"    {part}," for part in parts), end])


def _parts(signature: inspect.Signature) -> typing.Iterator[str]:
    last: object = None
    for parameter in signature.parameters.values():
        if last is parameter.POSITIONAL_ONLY and parameter.kind is not last:
            yield "/"
        if parameter.kind is parameter.KEYWORD_ONLY and last not in {
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        }:
            yield "*"
        yield shown_parameter(parameter)
        last = parameter.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        yield "/"


def shown_parameter(parameter: inspect.Parameter) -> str:
    """A parameter as it is declared."""
    text = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        text = f"*{text}"
    if parameter.kind is parameter.VAR_KEYWORD:
        text = f"**{text}"
    if parameter.annotation is not parameter.empty:
        text += f": {shown_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {shown_default(parameter.default)}"
    return text


def shown_annotation(annotation: object) -> str:
    """A type without the modules of its names."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return re.sub(r"\b(?:[a-z_0-9]+\.)+(?=[A-Za-z])", "", text)


def shown_default(value: object) -> str:
    """A default; `...` for an object that stands for something else."""
    if isinstance(value, enum.Enum):
        return str(value)
    if inspect.isroutine(value) or inspect.isclass(value):
        module = "" if value.__module__ == "builtins" else f"{value.__module__}."
        return f"{module}{value.__qualname__}"
    text = repr(value)
    return "..." if " at 0x" in text or "environ" in text else text
