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
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from letsgo_queue import LetsGoError, Reject, Retry
from tests.release.options import PACKAGES, commands, django_options, pytest_options, variables
from tests.release.signatures import Signature, how_defined, shown, shown_annotation, signatures

SNAPSHOT = Path(__file__).with_name("public-interface.txt")

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

_MADE_WHEN_ASKED = object()

_LINE = 100


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
                f"{how_defined(found)} {name}{shown(signature)}",
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
        yield Entry(module, name, "attribute", f"{short}: {shown_annotation(returns)}")
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
            text = f"{kind}{how_defined(function)} {short}{call}"
            yield Entry(module, name, "method", text, tuple(parameters))


def _attributes(found: type[Any]) -> Iterator[tuple[str, str]]:
    """The public attributes that a class declares, or sets when it is made."""
    for name, annotation in vars(found).get("__annotations__", {}).items():
        if not name.startswith("_"):
            yield name, shown_annotation(annotation)
    made = vars(found).get("__init__")
    if not inspect.isfunction(made) or made.__qualname__.startswith("__create_fn__"):
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(made)))
    except OSError:  # dataclasses and pydantic make theirs without a source
        return
    annotations = {name: shown_annotation(text) for name, text in made.__annotations__.items()}
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


if __name__ == "__main__":
    main()
