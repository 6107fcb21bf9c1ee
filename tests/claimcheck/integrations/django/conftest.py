"""Sets the project of these tests up, once a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SETTINGS = "tests.claimcheck.integrations.django.settings"

os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)

import django  # noqa: E402
from django.conf import settings  # noqa: E402

django.setup()

from django.test import override_settings  # noqa: E402

Configure = Callable[..., Any]

IMMEDIATE = "immediate"
"""The alias of Django's own backend that runs a task at once."""


@pytest.fixture(autouse=True)
def no_claims_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "memory://django")


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Configure]:
    """Gives the backend other options; by default its queues are files."""
    active: list[override_settings] = []

    from claimcheck.integrations.django.tasks_api import BaseTaskBackend, task_backends

    immediate = BaseTaskBackend.__module__.replace(".base", ".immediate.ImmediateBackend")

    def give(queues: list[str] | None = None, **options: Any) -> Any:
        urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in queues or ["default", "mail"]}
        tasks = settings.TASKS["default"] | {
            "QUEUES": queues or ["default", "mail"],
            "OPTIONS": {"urls": urls, **options},
        }
        changed = override_settings(TASKS={"default": tasks, IMMEDIATE: {"BACKEND": immediate}})
        changed.enable()
        active.append(changed)
        return task_backends["default"]

    yield give
    for each in reversed(active):
        each.disable()
