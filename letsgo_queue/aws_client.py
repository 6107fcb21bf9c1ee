"""Makes boto3's clients, for the SQS transport and for the DynamoDB claim store.

It imports nothing of ours but the errors and what a fork needs, so that both packages can stand on
it.
"""

from __future__ import annotations

# Else the first connection loads it, and a process that forks meanwhile has half of it.
import encodings.idna  # noqa: F401
import functools
from typing import TYPE_CHECKING, Literal, overload

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    ConfigNotFound,
    ConfigParseError,
    InvalidConfigError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.loaders import Loader, create_loader

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.forking import Lock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

_UNUSABLE_SETTINGS = (
    ConfigNotFound,
    ConfigParseError,
    InvalidConfigError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ValueError,  # an endpoint that is no URL, a region that is no host name
)

_making = Lock()
"""A boto3 session is not safe to make clients from on several threads."""


@overload
def make_client(
    service: Literal["sqs"],
    session: boto3.session.Session | None,
    *,
    region: str | None,
    endpoint_url: str | None,
    config: Config | None = None,
) -> SQSClient: ...


@overload
def make_client(
    service: Literal["dynamodb"],
    session: boto3.session.Session | None,
    *,
    region: str | None,
    endpoint_url: str | None,
    config: Config | None = None,
) -> DynamoDBClient: ...


def make_client(
    service: Literal["sqs", "dynamodb"],
    session: boto3.session.Session | None,
    *,
    region: str | None,
    endpoint_url: str | None,
    config: Config | None = None,
) -> SQSClient | DynamoDBClient:
    """Make a client.

    Args:
        service: Which service it is for.
        session: Whose credentials and settings it has; None for those of the environment.
        region: The region; None for that of the session.
        endpoint_url: Another server than AWS's own.
        config: Timeouts, retries and the like.

    Raises:
        SettingsInvalid: The settings of AWS, or an argument, cannot be used.
    """
    try:
        if session is None:
            own = _new_session()
            config = (config or Config()).merge(Config(user_agent=_user_agent(own)))
            session = boto3.session.Session(botocore_session=own)
        with _making:
            return session.client(
                service, region_name=region, endpoint_url=endpoint_url, config=config
            )
    except _UNUSABLE_SETTINGS as error:
        raise SettingsInvalid(
            f"no client for {service} can be made (region {region}, endpoint {endpoint_url}): "
            f"{str(error).rstrip('. ')}. Check these and the settings of AWS."
        ) from error


def load_service(service: Literal["sqs", "dynamodb"]) -> None:
    """Load what all clients of a service share; processes that are forked later share it too.

    Only making a client loads all of it. This one has no credentials, and is dropped.
    """
    session = _new_session()
    session.set_credentials("none", "none")
    with _making:
        session.create_client(service, region_name="us-east-1")


def _new_session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@functools.cache
def _loader(data_path: str | None) -> Loader:
    """Reads the descriptions of services, which take 8 MB, and keeps them for all clients."""
    return create_loader(data_path)


def _user_agent(session: botocore.session.Session) -> str:
    """What requests say of who sends them, made once.

    Where a client is given none, botocore makes it for every request, some versions of it twice: a
    quarter of the CPU time of sending a small message.
    """
    app = session.get_config_variable("user_agent_appid")
    return f"{session.user_agent()} app/{app}" if app else session.user_agent()
