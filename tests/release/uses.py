"""Which test or page uses each public name and each option, from outside.

    python -m tests.release.uses        prints the table
    python -m tests.release.uses --lack prints what nobody uses

It goes by names. A call of `run(burst=True)` counts as a use of the option `burst` of every public
`run`, so the table finds what nobody runs, and does not prove that the rest is right.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.release.interface import Entry, entries
from tests.release.options import (
    ROOT,
    command_options,
    django_options,
    pytest_options,
    variables,
)

_BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```", re.MULTILINE | re.DOTALL)

_WORD = re.compile(r"\w+")

_HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Use:
    """A public name or option, and where it is used first; None if nobody uses it."""

    what: str
    place: str | None


@dataclasses.dataclass
class Corpus:
    """What tests and documents say.

    Attributes:
        names: Each name that is used, and where.
        keywords: Each keyword of a call, by the name of what is called.
        longest: The most arguments without a keyword, by the name of what is called.
        defined: The methods that they define, to be called by us.
        words: Each word of a string, and each whole string.
        texts: The strings of the code, and the documents, by their place.
    """

    names: dict[str, str] = dataclasses.field(default_factory=dict)
    keywords: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    longest: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    defined: set[str] = dataclasses.field(default_factory=set)
    words: dict[str, str] = dataclasses.field(default_factory=dict)
    texts: dict[str, list[str]] = dataclasses.field(default_factory=lambda: defaultdict(list))


def main() -> None:
    lacking = 0
    for use in uses():
        lacking += use.place is None
        if use.place is None or "--lack" not in sys.argv:
            print(f"{use.what:<75} {use.place or 'nobody'}")
    raise SystemExit(1 if lacking else 0)


def uses() -> Iterator[Use]:
    """All that is public, in the order of the snapshot."""
    corpus = read()
    seen: set[str] = set()
    for entry in entries():
        for use in _of_entry(corpus, entry):
            if use.what not in seen:
                seen.add(use.what)
                yield use
    for command, options in command_options():
        for option in options:
            yield Use(f"{command} {option}", _typed(corpus, command.split()[-1], option))
    for option in django_options():
        keyword = ("call_command", option.removeprefix("--").replace("-", "_"))
        place = corpus.keywords.get(keyword) or _typed(corpus, "letsgo_worker", option)
        yield Use(f"manage.py letsgo_worker {option}", place)
    for option in pytest_options():
        name = option.removeprefix("fixture ").split()[0]
        yield Use(f"pytest {name}", corpus.names.get(name) or _in_texts(corpus, name))
    for variable in variables():
        yield Use(variable, _in_texts(corpus, variable))


def _of_entry(corpus: Corpus, entry: Entry) -> Iterator[Use]:
    owner, _, short = entry.name.rpartition(".")
    what = f"{entry.module}.{entry.name}"
    if (owner and _is_typed_dict(owner)) or short == "__call__":
        return  # what has these is called by another name
    # A class may be named in settings.
    place = corpus.names.get(short) or corpus.words.get(what)
    if place is None and entry.kind == "attribute" and " = " in entry.text:
        # The value of an enumeration travels as text.
        place = corpus.words.get(ast.literal_eval(entry.text.partition(" = ")[2]))
    yield Use(what, place)
    if short in corpus.defined and owner:
        return  # a hook: others call it, and the test that defines it gets the arguments
    is_value = entry.kind == "class" and re.search(r"[\[ ](dataclass|pydantic)\]", entry.text)
    for at, parameter in enumerate(entry.parameters):
        if parameter.kind in {
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.POSITIONAL_ONLY,
        }:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            for option in _options_in(str(parameter.annotation)):
                # They may be kept in a variable that has the type of the options.
                unpacked = _typed_dict_in(str(parameter.annotation))
                place = corpus.keywords.get((short, option))
                place = place or corpus.keywords.get((unpacked, option))
                yield Use(f"{what}({option})", place)
            continue
        place = corpus.keywords.get((short, parameter.name))
        count, where = corpus.longest.get(short, (0, ""))
        if place is None and parameter.kind is not inspect.Parameter.KEYWORD_ONLY and count > at:
            place = where
        if place is None and is_value:
            place = _of_value(corpus, short, parameter.name)
        yield Use(f"{what}({parameter.name})", place)


def _of_value(corpus: Corpus, owner: str, field: str) -> str | None:
    """Where a field is read, or is in what a model is made from."""
    read = corpus.names.get(field) or corpus.words.get(field)
    return read or (
        corpus.words.get(f"CLAIMCHECK_{field.upper()}") if "Settings" in owner else None
    )


def _is_typed_dict(name: str) -> bool:
    return bool(_typed_dicts().get(name))


def _options_in(annotation: str) -> list[str]:
    """The options that `Unpack[RunOptions]` stands for."""
    return _typed_dicts().get(_typed_dict_in(annotation), [])


def _typed_dict_in(annotation: str) -> str:
    match = re.match(r"Unpack\[(\w+)", annotation)
    return match[1] if match else ""


@functools.cache
def _typed_dicts() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    kinds = {entry.name for entry in entries() if entry.text.endswith("[TypedDict]")}
    for entry in entries():
        owner, _, short = entry.name.rpartition(".")
        if owner in kinds and short not in found[owner]:
            found[owner].append(short)
    return found


def _typed(corpus: Corpus, command: str, option: str) -> str | None:
    """Where an option is in a text that has the command too, or beside it in one file."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(option)}(?![\w-])")
    word = re.compile(rf"(?<![\w-]){re.escape(command)}(?![\w-])")
    for place, texts in corpus.texts.items():
        if any(map(pattern.search, texts)) and any(map(word.search, texts)):
            return place
    return None


def _in_texts(corpus: Corpus, name: str) -> str | None:
    for place, texts in corpus.texts.items():
        if any(name in text for text in texts):
            return place
    return None


# what tests and documents say


@functools.cache
def read() -> Corpus:
    corpus = Corpus()
    docs = ROOT / "docs"
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if _HERE not in path.parents:
            _read_code(corpus, path.read_text(), str(path.relative_to(ROOT)), 0)
    for path in sorted((docs / "examples").rglob("*.py")):
        _read_code(corpus, path.read_text(), str(path.relative_to(ROOT)), 0)
    for path in [ROOT / "README.md", *sorted(docs.rglob("*.md"))]:
        text = path.read_text()
        place = str(path.relative_to(ROOT))
        for match in _BLOCK.finditer(text):
            _read_code(corpus, match[1], place, text.count("\n", 0, match.start(1)))
        # Commands of a page are run by its test. What a page only tells of is no use.
        corpus.texts[place] += re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return corpus


def _read_code(corpus: Corpus, source: str, path: str, above: int) -> None:
    for node in ast.walk(ast.parse(source)):
        place = f"{path}:{above + getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Name):
            corpus.names.setdefault(node.id, place)
        elif isinstance(node, ast.Attribute):
            corpus.names.setdefault(node.attr, place)
        elif isinstance(node, ast.arg):
            corpus.names.setdefault(node.arg, place)  # a fixture
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            _read_text(corpus, node.value, path, place)
        elif isinstance(node, ast.ClassDef):
            _read_methods(corpus, node, place)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            kind = _last_name(node.annotation)
            keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            corpus.keywords = {(kind, str(key)): place for key in keys} | corpus.keywords
        elif isinstance(node, ast.Call):
            _read_call(corpus, node, place)


def _read_methods(corpus: Corpus, defined: ast.ClassDef, place: str) -> None:
    for method in defined.body:
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            corpus.defined.add(method.name)
            corpus.names.setdefault(method.name, place)


def _read_text(corpus: Corpus, text: str, path: str, place: str) -> None:
    corpus.texts[path].append(text)
    for word in (text, *_WORD.findall(text)):
        corpus.words.setdefault(word, place)


def _read_call(corpus: Corpus, call: ast.Call, place: str) -> None:
    called, arguments = call.func, len(call.args)
    if _last_name(called) in {"partial", "replace"} and call.args:
        called, arguments = call.args[0], arguments - 1
    name = _last_name(called)
    for keyword in call.keywords:
        if keyword.arg is not None:
            corpus.keywords.setdefault((name, keyword.arg), place)
    if arguments > corpus.longest.get(name, (0, ""))[0]:
        corpus.longest[name] = (arguments, place)


def _last_name(called: ast.expr) -> str:
    if isinstance(called, ast.Attribute):
        return called.attr
    if isinstance(called, ast.Subscript):
        return _last_name(called.value)
    return called.id if isinstance(called, ast.Name) else ""


if __name__ == "__main__":
    main()
