"""Settings whose names are misspelt: they are ignored, so somebody has to say so."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from claimcheck import ClaimCheckSettings
from letsgo_queue.misspelt import misspelt
from letsgo_queue.settings import PREFIX, VARIABLES
from tests.docs.support import ROOT


def names(*given: str, shared: bool = False) -> dict[str, str | None]:
    known = VARIABLES if shared else ClaimCheckSettings.variables()
    prefix = PREFIX if shared else "CLAIMCHECK_"
    environ = dict.fromkeys(given, "any")
    found = misspelt(prefix, known, shared=shared, environ=environ)
    return {each.name: each.meant for each in found}


def test_every_setting_is_known() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert {*re.findall(r"LETSGO_[A-Z_]+", page)} <= {*VARIABLES}
    assert names(*ClaimCheckSettings.variables(), *VARIABLES) == {}
    assert names(*VARIABLES, shared=True) == {}


def test_the_setting_that_was_meant_is_named() -> None:
    assert names("CLAIMCHECK_TRESHOLD", "CLAIMCHECK_STROE", "CLAIMCHECK_XYLOPHONE") == {
        "CLAIMCHECK_TRESHOLD": "CLAIMCHECK_THRESHOLD",
        "CLAIMCHECK_STROE": "CLAIMCHECK_STORE",
        "CLAIMCHECK_XYLOPHONE": None,
    }
    assert names("LETSGO_QUEU_URL", "LETSGO_DEAD_LETTER_ERROR", shared=True) == {
        "LETSGO_QUEU_URL": "LETSGO_QUEUE_URL",
        "LETSGO_DEAD_LETTER_ERROR": "LETSGO_DEAD_LETTER_ERRORS",
    }


def test_the_variables_of_letsgo_and_of_kubernetes_are_left_alone() -> None:
    others = ("LETSGO_API_URL", "LETSGO_LOCAL_WEB_URL", "LETSGO_WORKER_MEMORY", "LETSGO_IP")
    assert names(*others, shared=True) == {}
    service = ("CLAIMCHECK_SERVICE_HOST", "CLAIMCHECK_PORT", "CLAIMCHECK_PORT_80_TCP_ADDR")
    assert names(*service, "CLAIMCHECK_SERVICE_PORT", "CLAIMCHECK_SERVICE_PORT_HTTP") == {}


def test_a_process_logs_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_TRESHOLD", "5")
    monkeypatch.setenv("LETSGO_QUEU_URL", "memory://")
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://")
    program = "import claimcheck; [claimcheck.enqueue({'type': 'a:b'}) for _ in range(2)]"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert sorted(done.stderr.decode().splitlines()) == [
        "CLAIMCHECK_TRESHOLD is no setting, and is ignored: did you mean CLAIMCHECK_THRESHOLD?",
        "LETSGO_QUEU_URL is no setting, and is ignored: did you mean LETSGO_QUEUE_URL?",
    ]
