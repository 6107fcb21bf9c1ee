"""The public interface of both packages, as text that people can read and compare.

    python -m tests.release.interface          prints it
    python -m tests.release.interface --write  renews public-interface.txt

It goes by what Python itself says of the objects. Annotations are shown as they are written, and
defaults by their value, so that the text is the same on every Python.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from letsgo_queue import LetsGoError, Reject, Retry

SNAPSHOT = Path(__file__).with_name("public-interface.txt")
ROOT = Path(__file__).parents[2]
PACKAGES = ("letsgo_queue", "claimcheck")

PUBLIC: Mapping[str, tuple[str, ...]] = {
    "letsgo_queue": (),
    "letsgo_queue.admin": (),
    "letsgo_queue.letsgo_messages": (
        "Card",
        "Contact",
        "DeletedTenant",
        "Identity",
        "NewTenant",
        "Plan",
        "PlanChange",
        "StripeSubscription",
        "Tenant",
    ),
    "letsgo_queue.metrics": ("PrometheusListener",),
    "letsgo_queue.otel": (),
    "letsgo_queue.testing": (),
    "claimcheck": (),
    "claimcheck.audit": (),
    "claimcheck.doctor": (),
    "claimcheck.integrations.aiobotocore": ("attach",),
    "claimcheck.integrations.boto3": ("attach",),
    "claimcheck.integrations.celery": ("install",),
    "claimcheck.integrations.django": (),
    "claimcheck.integrations.dramatiq": ("install",),
    "claimcheck.integrations.kombu": ("with_claim_check",),
    "claimcheck.integrations.sns": ("attach",),
    "claimcheck.integrations.taskiq": ("install",),
    "claimcheck.stores": (),
    "claimcheck.testing": (),
}
"""The public modules. Those that have no `__all__` have their public names here."""

_MADE = "()"

PROMISED: Mapping[str, tuple[str, ...]] = {
    "AwsPointers": (_MADE, "close"),
    "ClaimCheck": (_MADE, "adiscard", "aopen", "aseal", "close", "discard", "open", "seal"),
    "ClaimCheckMiddleware": (_MADE,),
    "ClaimCheckSettings": (_MADE, "from_environment", "store_for"),
    "Client": (
        _MADE,
        "add_listener",
        "add_middleware",
        "aenqueue",
        "aenqueue_many",
        "close",
        "enqueue",
        "enqueue_many",
        "using",
    ),
    "DeadLetterFilter": (_MADE,),
    "Delivery": (
        "attributes",
        "extend",
        "lambda_context",
        "message_id",
        "queue",
        "receive_count",
        "sent_at",
        "type",
    ),
    "DeliveryInTest": ("extend", "extensions"),
    "Drained": ("handled", "rejected", "retried", "skipped"),
    "Encryption": (),
    "IncomingMessage": (
        "body",
        "delivery",
        "emit",
        "message_id",
        "queue",
        "received",
        "sealed",
        "skip_reason",
        "type",
    ),
    "InventoryContract": ("lose_part",),
    "LambdaInTest": ("advance", "drain", "waiting"),
    "LetsGoQueueInstrumentor": (),
    "Middleware": (
        _MADE,
        "after_send",
        "before_send",
        "blocks",
        "finish",
        "handle",
        "inside",
        "kind",
        "prepare",
        "send_failed",
    ),
    "Opened": ("body", "claim_id", "complete", "extend", "release", "route", "size"),
    "QueueSettings": (_MADE, "from_environment", "url"),
    "Sandbox": (_MADE, "advance", "lambda_function", "outbox", "worker"),
    "Sealed": ("attributes", "body", "claim_id", "route", "size", "text"),
    "SendContext": ("emit",),
    "SqsBackend": (),
    "StoreContract": ("expiries_after_renewal", "lose_part"),
    "Worker": (
        _MADE,
        "add_listener",
        "default",
        "handler",
        "lambda_handler",
        "run",
        "scheduled",
        "serve",
        "stop",
    ),
    "WorkerInTest": ("adrain", "advance", "drain", "waiting"),
}
"""Classes that our own modules use too: what of them is public. `()` is how one is made."""

_RAISED_BY_USERS = (Reject, Retry)
"""Other errors users only catch, so how these are made may change."""

_VARIABLE = re.compile(r'"((?:LETSGO|CLAIMCHECK)_[A-Z_]*[A-Z])"')

_MADE_WHEN_ASKED = object()

_LINE = 100

Signature: TypeAlias = inspect.Signature


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public name, with how it is called.

    Attributes:
        module: The public module that has it.
        name: `Worker`, `Worker.run`.
        kind: `function`, `class`, `method`, `attribute`, `alias`.
        text: How the snapshot shows it, without the module.
        parameters: What a call may give, without `self`.
    """

    module: str
    name: str
    kind: str
    text: str
    parameters: tuple[inspect.Parameter, ...] = ()


@functools.cache
def entries() -> Sequence[Entry]:
    """All public names, in the order of the snapshot."""
    return [
        entry for module in PUBLIC for name in names_of(module) for entry in _entries(module, name)
    ]


def names_of(module: str) -> list[str]:
    loaded = importlib.import_module(module)
    names: Iterable[str] = PUBLIC[module] or loaded.__all__
    return sorted(names)


def snapshot() -> str:
    """The whole text."""
    return "".join(f"{line}\n" for line in _lines())


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        SNAPSHOT.write_text(snapshot())
    else:
        print(snapshot(), end="")


def _lines() -> Iterator[str]:
    yield "The public interface of letsgo-claimcheck. docs/releasing.md says what may change when."
    yield "`make public-interface` renews this file."
    for module in PUBLIC:
        yield ""
        yield ""
        yield module
        yield "=" * len(module)
        before = ""
        for entry in entries():
            if entry.module == module:
                is_member = "." in entry.name
                if not is_member and entry.name != before:
                    yield ""
                yield from _wrapped(entry.text, "    " if is_member else "")
                before = entry.name
    for title, lines in (
        ("Commands", commands()),
        ("manage.py letsgo_worker", django_options()),
        ("pytest", pytest_options()),
        ("Environment", variables()),
    ):
        yield from ("", "", title, "=" * len(title), "")
        yield from lines


def _wrapped(text: str, indent: str) -> Iterator[str]:
    """A long signature has a line for each parameter."""
    if len(indent + text) <= _LINE or "(" not in text:
        yield indent + text
        return
    start = text.index("(")
    parts, end = _split(text[start:])
    yield f"{indent}{text[:start]}("
    yield from (f"{indent}    {part}," for part in parts)
    yield f"{indent}{end}"


def _split(text: str) -> tuple[list[str], str]:
    """The parameters of a signature, and how it goes on with its closing parenthesis."""
    parts, start, depth = [], 1, 0
    quoted = False
    for at, character in enumerate(text):
        quoted ^= character == "'"
        if quoted:
            continue
        depth += (character in "([{") - (character in ")]}")
        if (character == "," and depth == 1) or depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
        if depth == 0:
            return parts, text[at:]
    raise ValueError(text)


# names


def _entries(module: str, name: str) -> Iterator[Entry]:
    found = getattr(importlib.import_module(module), name)
    where, known_as = defined_in(module, name)
    if inspect.isclass(found) and found.__module__.startswith(PACKAGES):
        yield from _of_class(module, name, found)
    elif inspect.isfunction(found):
        for signature in signatures(found):
            yield Entry(
                module,
                name,
                "function",
                f"{_def(found)} {name}{shown(signature)}",
                tuple(signature.parameters.values()),
            )
    else:
        yield Entry(module, name, "alias", f"{name} = {_assigned(where, known_as)}")


def defined_in(module: str, name: str) -> tuple[str, str]:
    """The module that defines a name, and the name that it has there."""
    if name in _imported(module):
        return defined_in(*_imported(module)[name])
    return module, name


@functools.cache
def _imported(module: str) -> Mapping[str, tuple[str, str]]:
    """The names that a module imports, with where from."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _assigned(module: str, name: str) -> str:
    """What a module says that a name is."""
    for node in _tree(module).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return ast.unparse(node.value)
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return ast.unparse(node.value)
    raise LookupError(f"{module} does not assign {name}")


def _of_class(module: str, name: str, found: type[Any]) -> Iterator[Entry]:
    bases = [
        base.__name__
        for base in found.__mro__[1:]
        if base.__module__.startswith(PACKAGES) and _is_public(base)
    ]
    kinds = _kinds(found)
    head = f"class {name}"
    if bases or kinds:
        head += f"[{', '.join([*bases, *kinds])}]"
    given: set[str] = set()
    if _made_by_users(found):
        signature = _constructor(found)
        given |= {parameter.name for parameter in signature.parameters.values()}
        parameters = tuple(signature.parameters.values())
        text = f"{head}{shown(signature, returns=False)}"
        yield Entry(module, name, "class", text, parameters)
    else:
        yield Entry(module, name, "class", head)
    is_value = dataclasses.is_dataclass(found) or issubclass(found, BaseModel)
    promised = PROMISED.get(name)
    for member, found_members in sorted(_members(module, name, found).items()):
        if (promised is None or member in promised) and not (is_value and member in given):
            yield from found_members


def _constructor(found: type[Any]) -> Signature:
    if not issubclass(found, BaseModel):
        return inspect.signature(found)
    # pydantic's own signature has its fields as it resolved them, each version otherwise.
    return Signature(
        [
            inspect.Parameter(
                field.alias or name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=_annotation_of_field(found, name),
                default=_default_of_field(field),
            )
            for name, field in found.model_fields.items()
        ]
    )


def _annotation_of_field(found: type[BaseModel], name: str) -> object:
    resolved = found.model_fields[name].annotation
    if inspect.isclass(resolved) and issubclass(resolved, BaseModel):
        return resolved
    return next(
        base.__annotations__[name]
        for base in found.__mro__
        if name in vars(base).get("__annotations__", {})
    )


def _default_of_field(field: FieldInfo) -> object:
    if field.is_required():
        return inspect.Parameter.empty
    return field.default if field.default_factory is None else _MADE_WHEN_ASKED


def _kinds(found: type[Any]) -> list[str]:
    kinds = []
    if typing.is_typeddict(found):
        kinds.append("TypedDict")
    if getattr(found, "_is_protocol", False):
        kinds.append("Protocol")
    if dataclasses.is_dataclass(found):
        kinds.append("dataclass")
    if issubclass(found, BaseModel):
        kinds.append("pydantic")
    if issubclass(found, enum.Enum):
        kinds.append("Enum")
    return kinds


def _made_by_users(found: type[Any]) -> bool:
    if found.__name__ in PROMISED:
        return _MADE in PROMISED[found.__name__]
    if issubclass(found, LetsGoError):
        return issubclass(found, _RAISED_BY_USERS)
    if found.__module__.startswith("claimcheck.testing") and found.__name__.endswith("Contract"):
        return False
    if typing.is_typeddict(found) or issubclass(found, enum.Enum):
        return False
    return not getattr(found, "_is_protocol", False)


@functools.cache
def _public_classes() -> frozenset[type[Any]]:
    found = (
        getattr(importlib.import_module(module), name)
        for module in PUBLIC
        for name in names_of(module)
    )
    return frozenset(each for each in found if inspect.isclass(each))


def _is_public(found: type[Any]) -> bool:
    return found in _public_classes()


def _members(module: str, name: str, found: type[Any]) -> dict[str, list[Entry]]:
    """What a class has, and what it has from bases of ours that are not public."""
    members: dict[str, list[Entry]] = {}
    for base in reversed(found.__mro__):
        # A generic model makes a class for each type that it is used with.
        ours = base.__module__.startswith(PACKAGES) and "[" not in base.__name__
        if not ours or (base is not found and _is_public(base)):
            continue
        for attribute, annotation in _attributes(base):
            text = f"{attribute}: {annotation}" if annotation else attribute
            members[attribute] = [Entry(module, f"{name}.{attribute}", "attribute", text)]
        for attribute, value in vars(base).items():
            # Tests of a contract run by themselves.
            is_call = attribute == "__call__" and getattr(found, "_is_protocol", False)
            if attribute.startswith(("_", "model_", "test_")) and not is_call:
                continue
            entry = list(_member(module, f"{name}.{attribute}", value))
            if entry:
                members[attribute] = entry
    return members


def _member(module: str, name: str, value: object) -> Iterator[Entry]:
    short = name.rpartition(".")[2]
    if isinstance(value, property | functools.cached_property):
        getter = value.fget if isinstance(value, property) else value.func
        returns = getter.__annotations__.get("return", "") if getter else ""
        yield Entry(module, name, "attribute", f"{short}: {_annotation(returns)}")
        return
    if isinstance(value, enum.Enum):
        yield Entry(module, name, "attribute", f"{short} = {value.value!r}")
        return
    kind = {classmethod: "classmethod ", staticmethod: "staticmethod "}.get(type(value), "")
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if inspect.isfunction(function):
        for signature in signatures(function):
            parameters = list(signature.parameters.values())
            if kind != "staticmethod ":
                parameters = parameters[1:]
            call = shown(signature.replace(parameters=parameters))
            text = f"{kind}{_def(function)} {short}{call}"
            yield Entry(module, name, "method", text, tuple(parameters))


def _attributes(found: type[Any]) -> Iterator[tuple[str, str]]:
    """The public attributes that a class declares, or sets when it is made."""
    for name, annotation in vars(found).get("__annotations__", {}).items():
        if not name.startswith("_"):
            yield name, _annotation(annotation)
    made = vars(found).get("__init__")
    if not inspect.isfunction(made) or made.__qualname__.startswith("__create_fn__"):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(made)))
    except OSError:  # dataclasses and pydantic make theirs without a source
        return
    annotations = {name: _annotation(text) for name, text in made.__annotations__.items()}
    for node in ast.walk(tree):
        target: ast.expr | None = None
        value: ast.expr | None = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        if (
            isinstance(target, ast.Attribute)
            and ast.unparse(target.value) == "self"
            and not target.attr.startswith("_")
        ):
            if isinstance(node, ast.AnnAssign):
                yield target.attr, ast.unparse(node.annotation)
            else:
                # `self.queue = queue` has the type of what was given.
                yield target.attr, annotations.get(ast.unparse(value) if value else "", "")


# signatures


def signatures(function: Callable[..., Any]) -> list[Signature]:
    """How a function may be called: its overloads, else its own signature."""
    overloads = typing.get_overloads(function)
    return [inspect.signature(each) for each in overloads or [function]]


def _def(function: Callable[..., Any]) -> str:
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
        text += f" -> {_annotation(signature.return_annotation)}"
    return text


def _parameter(parameter: inspect.Parameter) -> str:
    text = parameter.name
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        text = f"*{text}"
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        text = f"**{text}"
    if parameter.annotation is not inspect.Parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _annotation(annotation: object) -> str:
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


# what is no name of Python


def commands() -> Iterator[str]:
    """Each command with its arguments and options."""
    for command, _, lines in _walk_commands():
        yield from (command, *(f"    {line}" for line in lines), "")


def command_options() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each command with the names of its options."""
    for command, options, _ in _walk_commands():
        yield command, tuple(options)


def _walk_commands() -> Iterator[tuple[str, list[str], list[str]]]:
    import typer.main

    from claimcheck.cli.app import app as claimcheck_app
    from letsgo_queue.cli.app import app as queue_app

    def walk(name: str, command: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            parameters = [each for each in command.params if not getattr(each, "hidden", False)]
            options = [each for each in parameters if each.param_type_name == "option"]
            lines = [_shown_option(each) for each in parameters if each.name != "help"]
            yield name, [each.opts[-1] for each in options if each.name != "help"], lines
            return
        for child in sorted(subcommands):
            if not subcommands[child].hidden:
                yield from walk(f"{name} {child}", subcommands[child])

    for name, app in (("letsgo-queue", queue_app), ("claimcheck", claimcheck_app)):
        yield from walk(name, typer.main.get_command(app))


def _shown_option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        text = parameter.name.upper()
        return text if parameter.required else f"[{text}]"
    text = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if not parameter.is_flag:
        text += f" {parameter.metavar or parameter.name.upper()}"
    if parameter.multiple:
        text += " ..."
    default = parameter.default
    if default not in (None, False, (), []) and not callable(default):
        text += f"  (default {getattr(default, 'value', default)})"
    return text


class Options:
    """What is told which options there are, in place of pytest and argparse."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def getgroup(self, name: str, description: str = "") -> Options:
        return self

    def addoption(self, *names: str, **settings: object) -> None:
        self.names.append(", ".join(names))

    def add_argument(self, *names: str, **settings: object) -> None:
        self.names.append(", ".join(names))

    def addini(self, name: str, *rest: object, **settings: object) -> None:
        self.names.append(f"{name} (in pytest's settings)")


def pytest_options() -> list[str]:
    """The options and the fixtures of the plugins."""
    from claimcheck.audit import pytest_plugin
    from letsgo_queue.testing import pytest_plugin as testing_plugin

    options = Options()
    pytest_plugin.pytest_addoption(typing.cast("Any", options))
    fixtures = [
        f"fixture {node.name} -> {ast.unparse(node.returns) if node.returns else ''}"
        for node in _tree(testing_plugin.__name__).body
        if isinstance(node, ast.FunctionDef)
        and "pytest.fixture" in map(ast.unparse, node.decorator_list)
    ]
    return sorted(options.names) + sorted(fixtures)


def django_options() -> list[str]:
    from claimcheck.integrations.django.management.commands.letsgo_worker import Command

    options = Options()
    Command().add_arguments(typing.cast("Any", options))
    return sorted(options.names)


def variables() -> list[str]:
    """The environment variables that either package names in a string of its code."""
    from claimcheck import ClaimCheckSettings

    found = {f"CLAIMCHECK_{name.upper()}" for name in ClaimCheckSettings.model_fields}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found |= set(_VARIABLE.findall(path.read_text()))
    return sorted(found)


if __name__ == "__main__":
    main()
