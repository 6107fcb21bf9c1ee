"""What holds for every module of both packages."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pynamodb.connection import Connection

import claimcheck
import letsgo_queue
from claimcheck.stores import dynamodb_items
from letsgo_queue import LetsGoError

CONTENT = {"argument", "body", "data", "payload"}
"""How fields are named that hold what a message says."""


def modules() -> Iterator[ModuleType]:
    for package in (letsgo_queue, claimcheck):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def classes() -> list[type[Any]]:
    """Every class of ours, once."""
    return [
        each
        for module in modules()
        for each in vars(module).values()
        if inspect.isclass(each) and each.__module__ == module.__name__
    ]


def name_of(thing: type[Any]) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


ERRORS = [each for each in classes() if issubclass(each, BaseException)]
VALUES = [each for each in classes() if dataclasses.is_dataclass(each)]


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_every_error_has_one_root(error: type[BaseException]) -> None:
    """Those with a leading underscore do not leave their module."""
    assert issubclass(error, LetsGoError) or error.__name__.startswith("_")


@pytest.mark.parametrize("value", VALUES, ids=name_of)
def test_no_value_shows_content(value: type[Any]) -> None:
    """Whoever logs it, or prints a traceback with its locals, would publish a payload."""
    shown = [field for field in dataclasses.fields(value) if field.repr]
    assert [field.name for field in shown if field.name in CONTENT] == []
    assert [field.name for field in shown if "bytes" in str(field.type)] == []
    assert [field.name for field in shown if "AttributeValue" in str(field.type)] == []


def test_the_session_of_boto3_is_known_to_type_checkers() -> None:
    """Without stubs only `import boto3.session` tells them that there is such a module."""
    sources = {module.__name__: inspect.getsource(module) for module in modules()}
    naming = {name for name, text in sources.items() if "boto3.session.Session" in text}
    importing = {name for name, text in sources.items() if "import boto3.session" in text}
    assert "claimcheck.stores" in naming
    assert naming - importing == set()


def test_every_module_logs_with_the_logger_that_escapes_and_cuts() -> None:
    """Whoever writes to a queue would else write to the log."""
    assert callers("logging.getLogger") == {"letsgo_queue.log", "letsgo_queue.cli.logs"}


def test_every_command_prints_with_the_functions_that_escape() -> None:
    printing = callers("print", "typer.echo", "typer.confirm", "console.print", "errors.print")
    assert printing == {"letsgo_queue.cli.terminal"}


def callers(*functions: str) -> set[str]:
    """The modules that call one of these."""
    return {
        module.__name__
        for module in modules()
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in functions
    }


def test_of_pynamodb_only_the_public_interface_is_used() -> None:
    tree = ast.parse(Path(dynamodb_items.__file__).read_text())
    private = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[1] != "_"
    ]
    others = [ast.unparse(node) for node in private if ast.unparse(node.value) != "self"]
    assert others == []
    # What its subclass calls its own must not be pynamodb's.
    connection = Connection(region="us-west-2")
    (ours,) = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_Connection"
    ]
    own = {node.attr for node in private if node in ast.walk(ours)}
    own |= {node.name for node in ours.body if isinstance(node, ast.FunctionDef)}
    taken = {name for name in own if name.startswith("_") and hasattr(connection, name)}
    assert taken == {"__init__"}
