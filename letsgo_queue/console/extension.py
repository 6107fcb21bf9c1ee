"""What another package adds to the console: sections of its own, and how a sealed body is opened.

A package names a function in its entry points, in the group `letsgo_queue.console`. It takes
`ConsoleOptions` and gives an `Extension`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, cast

from jinja2 import BaseLoader
from starlette.routing import BaseRoute

from letsgo_queue.console.jobs import Jobs
from letsgo_queue.console.pages import Pages

GROUP = "letsgo_queue.console"

Level: TypeAlias = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleOptions:
    """What the console was started with.

    Attributes:
        queues: URLs of its queues.
        store: URL of the claim store; None for what the environment names.
        audit: A report of a size audit, as JSON; None for none.
        read_only: Whether it changes nothing.
    """

    queues: Sequence[str]
    store: str | None = None
    audit: Path | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the console.

    Attributes:
        title: What the navigation says.
        path: Where it is: `/claims`.
        routes: Its pages.
    """

    title: str
    path: str
    routes: Sequence[BaseRoute]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line on the overview.

    Attributes:
        title: What it is about.
        text: What it says.
        level: How bad it is.
        command: What mends it, where there is such a command.
    """

    title: str
    text: str
    level: Level = "pass"
    command: str = ""

    def of(self, name: str) -> Notice:
        """The same, of something among several."""
        return replace(self, title=f"{self.title} of {name}")


@dataclass(frozen=True, slots=True)
class OpenedBody:
    """A sealed body that was opened, or why it could not be.

    Attributes:
        size: Bytes of the message that is sealed in it; None if nobody knows.
        text: The message; None if it could not be opened.
        problem: Why not.
    """

    size: int | None = None
    text: str | None = field(default=None, repr=False)
    problem: str | None = None


class Extension(Protocol):
    """What a package adds."""

    templates: BaseLoader

    def sections(self, pages: Pages, jobs: Jobs) -> Sequence[Section]:
        """Its parts of the console.

        Args:
            pages: Renders their templates.
            jobs: Does to many things what takes a while.
        """
        ...

    def open(self, body: str, *, queue: str) -> OpenedBody | None:
        """Open a body and leave its claim as it is; None if it is not sealed."""
        ...

    def notices(self) -> Sequence[Notice]:
        """What the overview says of it, from what is known: no page waits for it."""
        ...

    def start(self) -> None:
        """Begin what goes on while the console runs."""
        ...

    def close(self) -> None:
        """End that, and release connections."""
        ...


class _Make(Protocol):
    def __call__(self, options: ConsoleOptions) -> Extension: ...


def load_extensions(options: ConsoleOptions) -> Sequence[Extension]:
    """What the packages that are installed add."""
    return [cast("_Make", each.load())(options) for each in entry_points(group=GROUP)]
