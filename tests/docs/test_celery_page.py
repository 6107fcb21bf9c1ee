"""docs/how-to/celery.md: its lines, with the packages that they name.

Type checkers do not see them: Celery has no types.
"""

from __future__ import annotations

import re
from typing import Any

from celery import Celery
from kombu import Connection

from tests.docs.support import ROOT

PAGE = ROOT / "docs/how-to/celery.md"


def test_the_lines_of_the_page_run() -> None:
    shop, sending = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "shop"}
    exec(shop, names)
    assert isinstance(names["app"], Celery)
    assert names["app"].tasks["shop.resize"]("large") == len("large")
    assert names["app"].connection_for_write().get_transport_cls().driver_type == "sqs"
    exec(sending, names)
    assert isinstance(names["connection"], Connection)
