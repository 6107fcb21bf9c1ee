"""The app, which has the command `letsgo_worker`."""

from __future__ import annotations

from django.apps import AppConfig


class TasksOnSqsConfig(AppConfig):  # type: ignore[misc]  # Django has no types here
    """The app."""

    name = "claimcheck.integrations.django"
    label = "claimcheck"
    verbose_name = "Tasks on SQS"
