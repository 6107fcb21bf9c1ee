"""How the snapshot of the public interface shows a signature: as it is written."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

Signature: TypeAlias = inspect.Signature


def signatures(function: Callable[..., Any]) -> list[Signature]:
    """How a function may be called: its overloads, else its own signature."""
    overloads = typing.get_overloads(function)
    return [inspect.signature(each) for each in overloads or [function]]


def how_defined(function: Callable[..., Any]) -> str:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "async def"
    return "def"


def shown(signature: Signature, *, returns: bool = True) -> str:
    """A signature, as it is written."""
    parts: list[str] = []
    last: inspect._ParameterKind | None = None
    for parameter in signature.parameters.values():
        positional_only = last is inspect.Parameter.POSITIONAL_ONLY
        if positional_only and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            parts.append("/")
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and last not in {
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.VAR_POSITIONAL,
        }:
            parts.append("*")
        parts.append(_parameter(parameter))
        last = parameter.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    text = f"({', '.join(parts)})"
    if returns and signature.return_annotation is not inspect.Signature.empty:
        text += f" -> {shown_annotation(signature.return_annotation)}"
    return text


def _parameter(parameter: inspect.Parameter) -> str:
    text = parameter.name
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        text = f"*{text}"
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        text = f"**{text}"
    if parameter.annotation is not inspect.Parameter.empty:
        text += f": {shown_annotation(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def shown_annotation(annotation: object) -> str:
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        return annotation.__name__
    text = annotation if isinstance(annotation, str) else repr(annotation)
    # Names are shown without their modules.
    return re.sub(r"\b(?:[a-z_0-9]+\.)+(?=[A-Za-z])", "", text)


def _default(value: object) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    text = repr(value)
    # The environment, an object that stands for "not given".
    return "..." if " at 0x" in text or "environ" in text or text == "<factory>" else text
