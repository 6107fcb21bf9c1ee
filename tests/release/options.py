"""What the public interface has beside the names of Python: commands, options, variables."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("letsgo_queue", "claimcheck")

_VARIABLE = re.compile(r'"((?:LETSGO|CLAIMCHECK)_[A-Z_]*[A-Z])"')


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
    """Collects the options that are declared, in place of pytest and argparse."""

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
        for node in ast.parse(inspect.getsource(testing_plugin)).body
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
