"""What the code declares of a public name, beside its docstring."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Collection, Iterator, Mapping

from pydantic import BaseModel

from docs.site.docstrings import Docstring
from docs.site.signatures import shown_annotation, shown_default

PACKAGES = ("letsgo_queue", "claimcheck")

_METHODS = (property, classmethod, staticmethod)


def find(module: str, name: str) -> object:
    """What a module calls by a name."""
    return getattr(importlib.import_module(module), name)


def class_of_ours(thing: object) -> type[object] | None:
    """It, if it is a class of our packages."""
    return thing if isinstance(thing, type) and is_ours(thing) else None


def is_ours(cls: type[object]) -> bool:
    """Whether a class is one of our packages, and no class that pydantic made of it."""
    return cls.__module__.startswith(PACKAGES) and "[" not in cls.__name__


def attributes(cls: type[object]) -> Iterator[tuple[str, str, str]]:
    """The attributes of a class: name, declaration, and what it or a base of ours says of it."""
    said: dict[str, str] = {}
    types: dict[str, str] = {}
    for base in filter(is_ours, reversed(cls.__mro__)):
        said |= Docstring.of(base.__doc__).entries["Attributes"]
        for name, annotation in inspect.get_annotations(base).items():
            types[name] = shown_annotation(annotation)
    fields = _fields(cls)
    shown = [name for name in types if name in fields and not name.startswith("_")]
    for name in dict.fromkeys([*shown, *said]):
        declared = f"{name}: {types[name]}" if name in types else name
        yield name, declared + fields.get(name, ""), said.get(name, "")


def _fields(cls: type[object]) -> Mapping[str, str]:
    """The fields of a value, each with ` = ` and its default, if it has one."""
    if typing.is_typeddict(cls):
        return dict.fromkeys(inspect.get_annotations(cls), "")
    if issubclass(cls, BaseModel):
        return {
            name: ""
            if each.is_required()
            else f" = {shown_default(each.get_default(call_default_factory=True))}"
            for name, each in cls.model_fields.items()
        }
    found = {}
    for each in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        value = each.default
        if value is dataclasses.MISSING and each.default_factory is not dataclasses.MISSING:
            value = each.default_factory()
        found[each.name] = "" if value is dataclasses.MISSING else f" = {shown_default(value)}"
    return found


def methods(cls: type[object], *, public: Collection[type[object]]) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class, and of its bases of ours.

    Args:
        cls: The class.
        public: The public classes. As bases they have entries of their own.
    """
    taken = {name for name, _, _ in attributes(cls)}
    for base in filter(is_ours, cls.__mro__):
        if base is not cls and base in public:
            continue
        for name, value in vars(base).items():
            if name in taken or name.startswith(("_", "model_")):
                continue
            if inspect.isfunction(value) or isinstance(value, _METHODS):
                taken.add(name)
                yield name, value


def alias(module: str, name: str) -> tuple[str, str]:
    """A name that is no function or class: its value as it is written, and the words below it."""
    tree = _tree(module)
    for node, below in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        value = _assigned(node, name)
        if value is not None:
            match below:
                case ast.Expr(value=ast.Constant(value=str() as words)):
                    return ast.unparse(value), words
            return ast.unparse(value), ""
    for inner in ast.walk(tree):
        if isinstance(inner, ast.ImportFrom) and inner.module is not None:
            for each in inner.names:
                if (each.asname or each.name) == name:
                    return alias(inner.module, each.name)
    raise LookupError(f"{module} has no {name}")


def _assigned(node: ast.stmt, name: str) -> ast.expr | None:
    match node:
        case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
            return value
        case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
            return value
    return None


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))
