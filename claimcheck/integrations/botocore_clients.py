"""For every `attach`: checks a client of botocore, and has it call handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from botocore.client import BaseClient

from claimcheck.errors import SettingsInvalid

Handler: TypeAlias = Callable[..., Any]

_ATTACH_OF = {
    "sns": "claimcheck.integrations.sns.attach",
    "sqs": "claimcheck.integrations.boto3.attach",
}


def check_service(client: object, service: str) -> None:
    """Refuse an object that is not a client of a service.

    Raises:
        SettingsInvalid: It is something else.
    """
    found = client.meta.service_model.service_name if isinstance(client, BaseClient) else None
    if found == service:
        return
    what = type(client).__name__ if found is None else f"a client of {found.upper()}"
    other = _ATTACH_OF.get(found or "")
    advice = "of a resource, its meta.client" if other is None else f"for this one, use {other}"
    raise SettingsInvalid(
        f"attach takes a client of {service.upper()}, and got {what}. Give "
        f"boto3.client({service!r}); {advice}."
    )


def is_asynchronous(client: BaseClient) -> bool:
    """Whether aiobotocore made a client."""
    return any(each.__module__.startswith("aiobotocore") for each in type(client).__mro__)


def is_presigned(context: Mapping[str, Any]) -> bool:
    """Whether botocore only makes a URL for a call: it emits the events that precede the call."""
    return bool(context.get("is_presign_request"))


def register(client: BaseClient, handlers: Mapping[str, Handler]) -> None:
    """Have botocore call handlers at events, in place of those of an earlier `attach`."""
    for event, handle in handlers.items():
        client.meta.events.unregister(event, unique_id=f"claimcheck-{event}")
        client.meta.events.register(event, handle, unique_id=f"claimcheck-{event}")
