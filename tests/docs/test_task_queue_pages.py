"""docs/how-to/dramatiq.md and taskiq.md: their lines, with the packages that they name.

Type checkers do not see them: these packages have no types, or not everywhere.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import dramatiq
import pytest

from tests.docs.support import ROOT


def names_on(page: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    [code] = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    module = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", module)
    exec(code, module.__dict__)
    return module.__dict__


@pytest.mark.usefixtures("ministack")
def test_dramatiq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dramatiq.broker, "global_broker", None)
    names = names_on("dramatiq.md", monkeypatch)
    assert names["resize"].broker is names["broker"]
    assert names["resize"]("large") == len("large")


@pytest.mark.usefixtures("ministack")
def test_taskiq(monkeypatch: pytest.MonkeyPatch) -> None:
    names = names_on("taskiq.md", monkeypatch)
    assert names["broker"].find_task("shop:resize") is not None
