"""The contrast of a page's text, as WCAG 2.2 has it."""

from __future__ import annotations

import re
from typing import TypeAlias

Color: TypeAlias = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""

MIN_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3: text of any size."""

TEXTS_WITH_COLORS = """() => {
  const opaque = (color) => color !== "rgba(0, 0, 0, 0)" && color !== "transparent";
  const found = [];
  for (const each of document.querySelectorAll("body *:not(script, title, desc)")) {
    const own = [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
    const text = own.map((node) => node.data).join("").trim();
    if (!text) continue;
    let ground = each;
    while (!opaque(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    const style = getComputedStyle(each);
    const front = each instanceof SVGElement ? style.fill : style.color;
    found.push([each.tagName, text, front, getComputedStyle(ground).backgroundColor]);
  }
  return found;
}"""


def color(text: str) -> Color:
    """The parts of a computed colour without transparency, from 0 to 1."""
    parts = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", text)
    assert parts, text
    red, green, blue = (int(part) / 255 for part in parts.groups())
    return red, green, blue


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(of: Color) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in of)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
