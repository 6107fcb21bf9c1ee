"""The entry of one public name, as Markdown."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Iterator

from pydantic import BaseModel

from docs.site.declared import alias, attributes, class_of_ours, find, is_ours, methods
from docs.site.docstrings import Docstring
from docs.site.signatures import shown_parameter, shown_signature, signatures_of
from letsgo_queue import LetsGoError, Reject, Retry


def entry(module: str, name: str, *, public: Collection[type[object]]) -> str:
    """All that is said of a name.

    Args:
        module: The module.
        name: What it is called there.
        public: The public classes.
    """
    thing = find(module, name)
    parts = [f"### `{name}` {{ #{module}.{name} }}"]
    if (cls := class_of_ours(thing)) is not None:
        parts += [_where(_kind(cls), module), *_of_class(module, name, cls, public)]
    elif inspect.isfunction(thing):
        parts += [_where("Function of", module), *_of_function(thing, name)]
    else:
        value, words = alias(module, name)
        parts += [_where("Type of", module), _code(f"{name} = {value}"), Docstring.of(words).prose]
    return "\n\n".join(filter(None, parts))


def _of_class(
    module: str, name: str, cls: type[object], public: Collection[type[object]]
) -> Iterator[str]:
    words = Docstring.of(cls.__doc__)
    made = Docstring.of(vars(cls).get("__init__", cls).__doc__)
    calls = signatures_of(vars(cls)["__init__"], method=True) if _made_by_users(cls, made) else []
    if calls:
        yield _code(*(shown_signature(name, each, returns=False) for each in calls))
    yield words.prose
    if calls:
        yield _parameters(calls, made)
        yield _raises(made)
    if issubclass(cls, LetsGoError) and _is_error(cls):
        yield _retrying(cls)
    yield _attributes(cls)
    yield _raises(words)
    for member, value in methods(cls, public=public):
        yield f"#### `{member}` {{ #{module}.{name}.{member} }}"
        yield from _of_member(member, value)


def _of_member(name: str, value: object) -> Iterator[str]:
    match value:
        case property(fget=getter) if getter is not None:
            yield _code(f"{name}: {getter.__annotations__.get('return', 'object')}")
            yield Docstring.of(getter.__doc__).prose
            yield _raises(Docstring.of(getter.__doc__))
        case classmethod():
            yield from _of_function(value.__func__, name, before="@classmethod\n", method=True)
        case staticmethod():
            yield from _of_function(value.__func__, name, before="@staticmethod\n")
        case _ if inspect.isfunction(value):
            yield from _of_function(value, name, method=True)


def _of_function(
    function: Callable[..., object], name: str, *, before: str = "", method: bool = False
) -> Iterator[str]:
    words = Docstring.of(function.__doc__)
    calls = signatures_of(function, method=method)
    define = "async def" if inspect.iscoroutinefunction(function) else "def"
    yield _code(*(shown_signature(f"{before}{define} {name}", each) for each in calls))
    yield words.prose
    yield _parameters(calls, words)
    if words.returns:
        yield f"**Returns**\n\n{words.returns}"
    yield _raises(words)


def _made_by_users(cls: type[object], made: Docstring) -> bool:
    """Whether to say how one is made; the fields of a value say it as well."""
    is_caught = issubclass(cls, LetsGoError) and not issubclass(cls, Reject | Retry)
    return "__init__" in vars(cls) and bool(made.entries["Args"]) and not is_caught


def _kind(cls: type[object]) -> str:
    if issubclass(cls, LetsGoError):
        base = cls.__bases__[0]
        return "Error of" if base is Exception else f"Error, a `{base.__name__}`, of"
    kinds = {
        "Enum of": issubclass(cls, enum.Enum),
        "Options, a `TypedDict`, of": typing.is_typeddict(cls),
        "Protocol of": getattr(cls, "_is_protocol", False),
        "Pydantic model of": issubclass(cls, BaseModel),
        "Dataclass of": dataclasses.is_dataclass(cls),
    }
    return next((kind for kind, fits in kinds.items() if fits), "Class of")


def _where(kind: str, module: str) -> str:
    return f"{kind} `{module}`\n{{ .where }}"


def _code(*lines: str) -> str:
    return "```python { .signature }\n" + "\n".join(lines) + "\n```"


def _is_error(cls: type[object]) -> bool:
    return issubclass(cls, LetsGoError) and cls is not LetsGoError


def _retrying(error: type[LetsGoError]) -> str:
    """What the attributes of every error say for this one."""
    makers = [base.__dict__.get("__init__") for base in filter(is_ours, error.__mro__)]
    if any("self.retryable =" in inspect.getsource(made) for made in makers if made is not None):
        answer = "`retryable` says it"
    else:
        answer = "yes" if error.retryable else "no"
    text = f"May the same call succeed later? {answer[0].upper()}{answer[1:]}."
    if error.patience:
        hours, minutes = divmod(round(error.patience / 60), 60)
        time = f"{hours} hours" if hours else f"{minutes} minutes"
        text += f" A worker holds the message, and tries again for {time}."
    return text


def _attributes(cls: type[object]) -> str:
    of_all = {name for name, _, _ in attributes(LetsGoError)} if _is_error(cls) else set()
    rows = [(shown, text) for name, shown, text in attributes(cls) if name not in of_all]
    told = _list("Attributes", ((shown, text) for shown, text in rows if text))
    # Those of `EnqueueOptions` are told where they are used.
    others = [shown for shown, text in rows if not text]
    return "\n\n".join(filter(None, [told, _code(*others) if others else ""]))


def _parameters(calls: Iterable[inspect.Signature], words: Docstring) -> str:
    known = {name: each for call in calls for name, each in call.parameters.items()}
    return _list(
        "Parameters",
        (
            (shown_parameter(known[name]) if name in known else name, text)
            for name, text in words.entries["Args"].items()
        ),
    )


def _raises(words: Docstring) -> str:
    return _list("Raises", words.entries["Raises"].items())


def _list(title: str, rows: Iterable[tuple[str, str]]) -> str:
    items = [f"`{term}`\n:   {_indented(text)}" for term, text in rows]
    return "\n\n".join([f"**{title}**", *items]) if items else ""


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
