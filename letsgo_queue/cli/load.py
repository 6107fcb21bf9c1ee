"""Finds the worker that a command names, in the modules of its user."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import TracebackType

from letsgo_queue.errors import LetsGoError, SettingsInvalid
from letsgo_queue.place import place_of, raised_by_us
from letsgo_queue.worker.worker import Worker

DEFAULT_NAME = "worker"


def load_worker(target: str) -> Worker:
    """Import the module of a worker, and take the worker out of it.

    A module that fails prints its traceback, from its own first line on, unless the error is ours:
    then its text and the line of the module say all.

    Args:
        target: `module:name`, or the module alone where the name is `worker`.

    Raises:
        SettingsInvalid: There is no such module, it cannot be imported, or it has no such worker.
    """
    module_name, _, name = target.partition(":")
    name = name or DEFAULT_NAME
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise SettingsInvalid(
            f"{target!r}: give a module and a name in it, as in shop.jobs:worker."
        )
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001  whatever the module raises
        own = _without_importing(error.__traceback__)
        if own is None and isinstance(error, ModuleNotFoundError):
            what_to_do = "Run this where Python finds it."
            if module_name.endswith(".py"):
                what_to_do = "Leave out the .py: Python has a module by its name."
            raise SettingsInvalid(
                f"{target!r}: there is no module {error.name!r}. {what_to_do}"
            ) from None
        if isinstance(error, LetsGoError) and raised_by_us(error):
            place = place_of(error, package=module_name.partition(".")[0])
            where = "" if place is None else f", {place.file}:{place.line}"
            raise SettingsInvalid(f"{target!r}{where}: {error}") from None
        traceback.print_exception(error.with_traceback(own))
        raise SettingsInvalid(
            f"{target!r}: its module cannot be imported, see above: {type(error).__name__}."
        ) from None
    found = getattr(module, name, None)
    if isinstance(found, Worker):
        return found
    workers = [each for each, value in vars(module).items() if isinstance(value, Worker)]
    there_is = f"Its workers: {', '.join(workers)}." if workers else "It has no worker."
    if found is None:
        raise SettingsInvalid(f"{target!r}: that module has no {name!r}. {there_is}")
    raise SettingsInvalid(
        f"{target!r}: {name!r} of that module is no letsgo_queue.Worker. {there_is}"
    )


def _without_importing(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of the import; None if it has no others."""
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file not in {__file__, importlib.__file__} and not file.startswith("<frozen importlib"):
            break
        frames = frames.tb_next
    return frames
