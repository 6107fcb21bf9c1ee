"""Labels: how tickets and errors name the place where the records of claims are."""

from __future__ import annotations

import os
import string
from urllib.parse import quote

MAX_LABEL_CHARACTERS = 200

_KEPT = string.punctuation + " "


def store_label(kind: str, name: str) -> str:
    """The label of a store: printable ASCII, at most 200 characters.

    Args:
        kind: What kind of place it is.
        name: Which place; the left of a long one is left out.
    """
    # As bytes: a path need not be Unicode.
    label = f"{kind}:{quote(os.fsencode(name), safe=_KEPT)}"
    too_long = len(label) - MAX_LABEL_CHARACTERS
    if too_long <= 0:
        return label
    return f"{kind}:...{label[len(kind) + 4 + too_long :]}"
