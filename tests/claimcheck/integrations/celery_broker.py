"""Apps of Celery on an emulator of SQS, for the tests and for the workers that they start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

QUEUES = "TEST_QUEUES"
"""The variable that has the URLs of queues, by their names."""

WITHOUT_CLAIM_CHECK = "TEST_WITHOUT_CLAIM_CHECK"
"""The variable that has a worker run without the claim check, as before it was deployed."""


def make_app(environment: Mapping[str, str], **settings: Any) -> Celery:
    """An app as people make it, without the claim check."""
    app = Celery("shop", set_as_current=False)
    app.conf.update(
        accept_content=["json", "pickle", "msgpack"],
        broker_connection_retry_on_startup=True,
        broker_transport_options=transport_options(json.loads(environment[QUEUES])),
        broker_url=broker_url(environment["AWS_ENDPOINT_URL"]),
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        **settings,
    )
    return app


def broker_url(endpoint: str) -> str:
    return f"sqs://test:test@{urlsplit(endpoint).netloc}//"


def transport_options(queues: Mapping[str, str]) -> dict[str, Any]:
    keys = {"access_key_id": "test", "secret_access_key": "test"}
    return {
        "is_secure": False,
        "polling_interval": 0.1,
        "predefined_queues": {name: {"url": url, **keys} for name, url in queues.items()},
        "region": "us-west-2",
        "wait_time_seconds": 1,
    }
