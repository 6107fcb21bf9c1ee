"""docs/how-to/django.md, followed: a project, its tasks, its worker and its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.support import Reader, commands, write_blocks

PAGE = "docs/how-to/django.md"


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    write_blocks(PAGE, tmp_path, language="py")
    (tmp_path / "shop/__init__.py").touch()
    reader = Reader(
        tmp_path,
        DJANGO_SETTINGS_MODULE="site_settings",
        PYTHONPATH=str(tmp_path),
        CLAIMCHECK_STORE="sqlite:///claims.db",
    )
    (tmp_path / "bin/django-admin").write_text('#!/bin/sh\nexec python -m django "$@"\n')
    (tmp_path / "bin/django-admin").chmod(0o755)
    return reader


def test_its_commands(reader: Reader) -> None:
    _install, check, send, work, helps = commands(PAGE)

    assert "no issues" in reader.type(check)
    reader.type(send)
    printed = reader.type(work)
    assert "200000 prices" in printed
    assert "mail to ada@example.com" in printed
    assert "--processes" in reader.type(helps)
