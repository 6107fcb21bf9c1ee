"""Extensions: another package can add sections to the console, and open sealed bodies for it.

A package names a function in its entry points, in the group `letsgo_queue.console`. The function
takes `ConsoleOptions` and returns an `Extension`.
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
    """The options of the console's command.

    Attributes:
        queues: URLs of its queues.
        store: URL of the claim store; None for the store of the environment.
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
        title: Its name in the navigation.
        path: Its path: `/claims`.
        routes: Its pages.
    """

    title: str
    path: str
    routes: Sequence[BaseRoute]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line on the overview.

    Attributes:
        title: Its subject.
        text: Its text.
        level: How bad it is.
        command: The command that mends it, if there is one.
    """

    title: str
    text: str
    level: Level = "pass"
    command: str = ""

    def of(self, name: str) -> Notice:
        """Return this notice, with the name of its subject among several."""
        return replace(self, title=f"{self.title} of {name}")


@dataclass(frozen=True, slots=True)
class OpenedBody:
    """A sealed body that was opened, or the reason why it could not be opened.

    Attributes:
        size: Bytes of the message that is sealed in it; None if nobody knows.
        text: The message; None if it could not be opened.
        problem: Why it could not be opened.
    """

    size: int | None = None
    text: str | None = field(default=None, repr=False)
    problem: str | None = None


class Extension(Protocol):
    """The parts that a package adds to the console."""

    templates: BaseLoader

    def sections(self, pages: Pages, jobs: Jobs) -> Sequence[Section]:
        """Return its sections of the console.

        Args:
            pages: Renders their templates.
            jobs: Carries out long tasks on many things.
        """
        ...

    def open(self, body: str, *, queue: str) -> OpenedBody | None:
        """Open a body and leave its claim as it is; None if it is not sealed."""
        ...

    def notices(self) -> Sequence[Notice]:
        """Return its notices for the overview, at once: a page waits for them."""
        ...

    def start(self) -> None:
        """Start its background work, which runs while the console runs."""
        ...

    def close(self) -> None:
        """End the background work, and release connections."""
        ...


class _Make(Protocol):
    def __call__(self, options: ConsoleOptions) -> Extension: ...


def load_extensions(options: ConsoleOptions) -> Sequence[Extension]:
    """Load the extensions of all installed packages."""
    return [cast("_Make", each.load())(options) for each in entry_points(group=GROUP)]
