"""Makes a package load a module when one of its public names is first used (PEP 562).

A Lambda function that only sends never loads the worker, and a pytest plugin that nobody asked for
loads nothing at all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from letsgo_queue.forking import forks_wait


def lazy_names(
    package: str,
    modules: Mapping[str, Sequence[str]],
    *,
    others: tuple[str, Sequence[str]] = ("", ()),
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package.

    Args:
        package: Its name.
        modules: The public names that each module has.
        others: A module, and all public names of the package: the module has the names that are
            not in `modules`.
    """
    module_of = dict.fromkeys(others[1], others[0])
    module_of |= {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> object:  # noqa: N807  what it is
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with forks_wait():
            module = importlib.import_module(module_of[name])
        found: object = getattr(module, name)
        setattr(sys.modules[package], name, found)  # so that Python finds it at once the next time
        return found

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *module_of})

    return __getattr__, __dir__
