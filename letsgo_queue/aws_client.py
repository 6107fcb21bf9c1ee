"""Makes boto3's clients, for the SQS transport and for the DynamoDB claim store.

It imports nothing of ours but leaf modules, so that both packages can stand on it.
"""

from __future__ import annotations

# Else the first connection loads it, and a process that forks meanwhile has half of it.
import encodings.idna  # noqa: F401
import functools
import os
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3.session
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

from letsgo_queue.deployment import DEFAULT_REGION
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
        region: The region; None for that of the session (`AWS_DEFAULT_REGION`, its profile), and
            else LetsGo's default.
        endpoint_url: Another server than AWS's own.
        config: Timeouts, retries and the like.

    Raises:
        SettingsInvalid: The settings of AWS, or an argument, cannot be used.
    """
    try:
        with _making:
            if session is None:
                session, user_agent = _session_of_environment(os.getpid(), aws_settings())
                config = (config or Config()).merge(Config(user_agent=user_agent))
            return session.client(
                service,
                region_name=region or session.region_name or DEFAULT_REGION,
                endpoint_url=endpoint_url,
                config=config,
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


def time_of(answer: Mapping[str, Any]) -> float | None:
    """When the server gave an answer, by its clock: the `Date` header, in whole seconds since 1970.

    None where it does not say.
    """
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


@functools.lru_cache(maxsize=1)
def _session_of_environment(
    process: int, settings: frozenset[tuple[str, str]]
) -> tuple[boto3.session.Session, str]:
    """The session of all clients that are given none, and its user agent.

    One session fetches credentials once, for queue and store. After a fork, or where a setting of
    AWS was changed, there is a new one.
    """
    del process, settings
    own = _new_session()
    user_agent = _user_agent(own)  # boto3 adds its name to it, and botocore that again
    return boto3.session.Session(botocore_session=own), user_agent


def aws_settings() -> frozenset[tuple[str, str]]:
    """The settings of AWS in the environment: what was made from others is not used any more."""
    return frozenset((name, value) for name, value in os.environ.items() if name[:4] == "AWS_")


def _new_session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@functools.cache
def _loader(data_path: str | None) -> Loader:
    """Reads the descriptions of services, which take 8 MB, and keeps them for all clients."""
    return create_loader(data_path)


def _user_agent(session: botocore.session.Session) -> str:
    """The user agent of requests, made once.

    Where a client is given none, botocore makes it for every request, some versions of it twice: a
    quarter of the CPU time of sending a small message.
    """
    app = session.get_config_variable("user_agent_appid")
    return f"{session.user_agent()} app/{app}" if app else session.user_agent()
