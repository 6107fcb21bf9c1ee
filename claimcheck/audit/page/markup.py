"""Elements of the page. Their content is text, never markup: types and tests may have any name."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from letsgo_queue.text import printable, shown

MAX_NAME_CHARACTERS = 160

_BREAK = re.compile(r"(?<=[/:_.-])(?=\w)")


def element(tag: str, *content: Element | str, **attributes: str | float) -> Element:
    """Make an element of HTML or SVG.

    Args:
        tag: Its name.
        content: Elements and text, in order.
        attributes: By name, with `_` for `-`. A name that Python reserves ends with `_`: `class_`.
    """
    made = Element(
        tag,
        {
            name.rstrip("_").replace("_", "-"): printable(str(value))
            for name, value in attributes.items()
        },
    )
    last: Element | None = None
    for each in content:
        if isinstance(each, Element):
            made.append(each)
            last = each
        elif last is None:
            made.text = (made.text or "") + printable(each)
        else:
            last.tail = (last.tail or "") + printable(each)
    return made


def raw_text(tag: str, text: str, **attributes: str) -> Element:
    """Make a `style` or a `script`: HTML takes their text as it is."""
    made = element(tag, **attributes)
    made.text = text
    return made


def name_element(name: str) -> Element:
    """Make a name that somebody else chose; its direction leaves the text around it alone."""
    first, *rest = _BREAK.split(short_name(name))
    made = element("bdi", first, class_="name")
    for part in rest:
        at = element("wbr")
        at.tail = part
        made.append(at)
    return made


def short_name(name: str) -> str:
    """A name in printable characters, cut if it is long."""
    return shown(name, MAX_NAME_CHARACTERS)


def percent(share: float) -> str:
    """A place in a chart. Charts grow with their page, and their text keeps its size."""
    return f"{share * 100:.2f}%"
