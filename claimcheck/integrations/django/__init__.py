"""Django's tasks on SQS, of any size, for `django.tasks` and for the package `django-tasks`.

    INSTALLED_APPS = [..., "claimcheck.integrations.django"]
    TASKS = {
        "default": {
            "BACKEND": "claimcheck.integrations.django.SqsBackend",
            "QUEUES": ["default"],
            "OPTIONS": {"urls": {"default": "https://sqs.eu-west-1.amazonaws.com/1234/shop"}},
        }
    }

A task is a message like any other: `{"type": "shop.tasks.send_mail", "payload": {...}}`, which
`manage.py letsgo_worker` handles.
"""

from __future__ import annotations

from claimcheck.integrations.django.backend import SqsBackend
from claimcheck.integrations.django.running import drain

__all__ = ["SqsBackend", "drain"]
