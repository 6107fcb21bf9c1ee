"""The page about encryption, as a reader would follow it."""

from __future__ import annotations

import re
from pathlib import Path

from claimcheck import errors
from claimcheck.core import kms
from tests.docs.support import ROOT, Reader, write_blocks

PAGE = "docs/how-to/encryption.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_its_programs_run(tmp_path: Path) -> None:
    reader = Reader(tmp_path, AWS_REGION="eu-west-1")
    assert write_blocks(PAGE, tmp_path) == {"encrypted.py", "own_session_kms.py"}

    told = reader.type("python -W error encrypted.py")

    assert told.splitlines() == ["the files have it: False", "the worker got a secret"]
    reader.type("python -W error own_session_kms.py")


def test_it_names_every_error() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    names = {each.__name__ for each in kinds if issubclass(each, errors.EncryptionError)}
    assert names - {*re.findall(r"`(\w+)`", TEXT)} == {"EncryptionError"}


def test_its_figures_are_those_of_the_code() -> None:
    assert f"for {kms.REUSE_MINUTES} minutes, or {kms.REUSE_MESSAGES:,}\nmessages" in TEXT
    assert kms.KEPT_SECONDS == 3600
    assert "keeps it for an hour" in TEXT
    assert f"it keeps {kms.KEPT_KEYS:,} at most" in TEXT
    assert f"`{kms.CONTEXT['application']}`" in TEXT
    requests = 30 * 24 * 60 / kms.REUSE_MINUTES
    assert round(requests, -2) == 2_900
    assert round(requests * (50 * 50 + 50) * 0.03 / 10_000) == 22
    assert round(requests / 4 * (50 * 50 + 50) * 0.03 / 10_000, 1) == 5.5
