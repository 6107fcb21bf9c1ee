"""The reference has every public name, every setting and every command, as the code has them."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

import claimcheck
import letsgo_queue
from docs.site.commands import APPS, all_commands
from docs.site.declared import find
from docs.site.docstrings import Docstring
from docs.site.entries import entry
from docs.site.reference import full_name, modules, places
from docs.site.signatures import shown_signature, signatures_of
from docs.site.staging import DOCS, page_of
from tests.docs.support import ROOT
from tests.release.interface import PUBLIC

PAGES = {page.name: page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")}


def shown(page: str) -> str:
    """A page as the site has it."""
    return page_of(f"reference/{page}", PAGES[page])


@pytest.mark.parametrize("module", modules())
def test_every_public_name_has_an_entry(module: str) -> None:
    public = getattr(importlib.import_module(module), "__all__", ())
    # `claimcheck.SettingsInvalid` is that of the queue, and told there.
    missing = [
        name
        for name in public
        if f"{module}.{name}" not in places()
        and not any(find(module, name) is each for each in all_found())
    ]
    assert missing == []


@functools.cache
def all_found() -> list[object]:
    """What the entries are about."""
    return [find(*full.rpartition(".")[::2]) for full in places() if is_top(full)]


def test_it_has_the_public_modules() -> None:
    assert modules() == sorted(PUBLIC)
    listed = {f"{module}.{name}" for module, names in PUBLIC.items() for name in names}
    assert listed <= set(places())


def is_top(full: str) -> bool:
    return full.rpartition(".")[0] in modules()


def test_every_entry_says_something() -> None:
    for full in filter(is_top, places()):
        module, _, name = full.rpartition(".")
        text = entry(module, name, public=())
        _, _, below = text.partition("{ .where }")
        assert re.search(r"^[A-Z`].* ", below, re.MULTILINE), full


def test_an_error_says_whether_to_try_again() -> None:
    def told(module: str, name: str) -> str:
        return entry(module, name, public=())

    assert "May the same call succeed later? No." in told("claimcheck", "ClaimMissing")
    assert "`retryable` says it." in told("letsgo_queue", "SendFailed")
    held = told("claimcheck", "ClaimStoreUnavailable")
    assert "later? Yes. A worker holds the message, and tries again for 15 minutes." in held
    assert "`retryable: bool" not in held
    assert "tries again for 12 hours" in told("claimcheck", "ClaimInProgress")


def test_names_in_words_are_links() -> None:
    page = shown("worker.md")

    assert "see [`run_workers`](worker.md#letsgo_queue.run_workers)" in " ".join(page.split())
    assert "[`Worker`]" not in "".join(re.findall("^###.*$", page, re.MULTILINE))
    assert full_name("Client.enqueue", "letsgo_queue") == "letsgo_queue.Client.enqueue"
    assert full_name("enqueue", "claimcheck") == "claimcheck.enqueue"
    assert full_name("no_such_name", "claimcheck") is None


def test_the_settings_are_all_there() -> None:
    page = shown("settings.md")
    read = {
        variable
        for package in (letsgo_queue, claimcheck)
        for path in Path(package.__path__[0]).rglob("*.py")
        for variable in re.findall(r'"((?:LETSGO|CLAIMCHECK)_[A-Z_]+[A-Z])"', path.read_text())
    }
    read |= {f"CLAIMCHECK_{name.upper()}" for name in claimcheck.ClaimCheckSettings.model_fields}
    assert {"LETSGO_QUEUE_URL", "CLAIMCHECK_STORE", "LETSGO_DEAD_LETTER_ERRORS"} < read
    assert read - set(re.findall(r"`(\w+)`", page)) == set()
    assert re.search(r"`CLAIMCHECK_THRESHOLD`\n:   .*Default: `250000`. In code: `threshold`", page)


@pytest.mark.parametrize("program", list(APPS))
def test_the_commands_are_all_there(program: str) -> None:
    page = shown("commands.md")
    for name, command in all_commands(program):
        assert f"### `{name}`" in page
        for each in command.params:
            assert getattr(each, "hidden", False) or each.help, f"{name} {each.name}"


def test_help_says_the_same_as_the_page() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "claimcheck.cli.app", "claims", "delete", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200"},
        cwd=ROOT,
    ).stdout
    _, _, section = shown("commands.md").partition("### `claimcheck claims delete`")
    options = re.findall(r"^`(--[\w-]+)", section.partition("\n### ")[0], re.MULTILINE)
    assert set(options) == set(re.findall(r"(?<![\w-])--[a-z-]+", told)) - {"--help"}


# how a docstring is read


class Base:
    """Something.

    Attributes:
        first: Seconds.
    """

    first: float


class Value(Base, BaseModel):
    """A value.

        Value(second="a")

    It is frozen.

    Attributes:
        second: Which
            of two.
    """

    second: Literal["a", "b"] = "a"

    def method(self, given: int, /, *others: str, only: bool = True, **rest: object) -> None:
        """Do it.

        Args:
            given: Bytes: up to 10.
            **rest: What else.

        Returns:
            Nothing.

        Raises:
            ValueError: It cannot.
        """


def test_a_docstring_is_read() -> None:
    words = Docstring.of(inspect.getdoc(Value.method))
    assert words.prose == "Do it."
    assert words.entries["Args"] == {"given": "Bytes: up to 10.", "rest": "What else."}
    assert words.entries["Raises"] == {"ValueError": "It cannot."}
    assert words.returns == "Nothing."
    value = Docstring.of(Value.__doc__)
    assert value.prose == 'A value.\n\n```python\nValue(second="a")\n```\n\nIt is frozen.'
    assert value.entries["Attributes"] == {"second": "Which\nof two."}


def test_what_is_no_python_is_text() -> None:
    assert "```text\na -> b\n" in Docstring.of("Ways.\n\n    a -> b\n\nTwo.").prose


def test_a_signature_is_shown() -> None:
    (signature,) = signatures_of(Value.method, method=True)
    parameters = "given: int, /, *others: str, only: bool = True, **rest: object"
    assert shown_signature("def method", signature) == f"def method({parameters}) -> None"
    long = shown_signature("def " + "m" * 60, signature)
    assert "\n    only: bool = True,\n    **rest: object,\n) -> None" in long
