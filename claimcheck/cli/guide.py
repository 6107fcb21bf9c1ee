"""`claimcheck guide`: a compact guide, whose code the tests run."""

from __future__ import annotations

from importlib.resources import files

from letsgo_queue.cli.terminal import print_line


def print_guide() -> None:
    """Print the guide."""
    for line in guide_text().splitlines():
        print_line(line)


def guide_text() -> str:
    """The guide, in Markdown."""
    return files("claimcheck.cli").joinpath("guide.md").read_text(encoding="utf-8")
