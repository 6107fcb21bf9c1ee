"""The commands with their arguments and options, as they are declared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import typer
import typer.main

from claimcheck.cli.app import app as claimcheck_app
from docs.site.docstrings import Docstring
from letsgo_queue.cli.app import app as queue_app

APPS: dict[str, typer.Typer] = {"claimcheck": claimcheck_app, "letsgo-queue": queue_app}


class Parameter(Protocol):
    """What we read of an argument or an option. Versions of typer have different classes."""

    name: str
    param_type_name: str
    opts: list[str]
    secondary_opts: list[str]
    metavar: str | None
    help: str | None
    default: object
    required: bool
    hidden: bool


class Command(Protocol):
    """What we read of a command."""

    help: str | None
    hidden: bool
    params: list[Parameter]


def commands(_page: str, program: str) -> str:
    """The reference of one program.

    Args:
        program: `claimcheck` or `letsgo-queue`.
    """
    return "\n\n".join(
        part for name, command in all_commands(program) for part in _of_command(name, command)
    )


def all_commands(program: str) -> Iterator[tuple[str, Command]]:
    """Every command of a program that is not hidden: `claimcheck store create`."""
    command = cast("object", typer.main.get_command(APPS[program]))
    yield from _walk(program, cast("Command", command))


def _walk(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    inside: dict[str, Command] | None = getattr(command, "commands", None)
    if inside is None:
        yield name, command
        return
    for child, each in inside.items():
        if not each.hidden:
            yield from _walk(f"{name} {child}", each)


def _of_command(name: str, command: Command) -> Iterator[str]:
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option" and each.name != "help"]
    yield f"### `{name}` {{ #{name.replace(' ', '-')} }}"
    usage = [name, *map(_usage, arguments)]
    usage += [f"{each.opts[0]} {_value(each)}" for each in options if each.required]
    if any(not each.required for each in options):
        usage.append("[OPTIONS]")
    yield f"```text\n{' '.join(usage)}\n```"
    yield Docstring.of(command.help).prose
    yield "\n\n".join(f"`{_usage(each)}`\n:   {each.help}" for each in arguments)
    yield "\n\n".join(f"`{_option(each)}`\n:   {_help(each)}" for each in options)


def _usage(argument: Parameter) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if getattr(argument, "nargs", 1) != 1 else name
    return name if argument.required else f"[{name}]"


def _option(option: Parameter) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    return names if getattr(option, "is_flag", False) else f"{names} {_value(option)}"


def _value(option: Parameter) -> str:
    return option.metavar or option.name.upper().replace("_", "-")


def _help(option: Parameter) -> str:
    text = option.help or ""
    default = getattr(option, "default", None)
    if isinstance(default, bool) or not isinstance(default, str | int | float):
        return text
    return f"{text} Default: `{default}`."
