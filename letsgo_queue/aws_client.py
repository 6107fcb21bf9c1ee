"""Makes boto3's clients, for the SQS transport, the claim stores and the keys of KMS.

A call that goes wrong raises an `AwsError`. botocore would also let two other kinds of error pass:
those of a provider of credentials (which runs a command, reads a token file or asks another
service), and those of its parser if an answer is not AWS's. This module turns both into errors of
botocore, so that callers have to know two classes only. Unusable settings raise `SettingsInvalid`.

It imports only leaf modules of ours, so that both packages can use it.
"""

from __future__ import annotations

# Loaded here: otherwise the first connection loads it, and a process forked meanwhile has half of
# it.
import encodings.idna  # noqa: F401
import functools
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    EndpointConnectionError,
    InvalidConfigError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ResponseStreamingError,
    UnknownCredentialError,
)
from botocore.loaders import Loader, create_loader

from letsgo_queue.deployment import DEFAULT_REGION
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.forking import Lock
from letsgo_queue.text import shown_error

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.signers import RequestSigner
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

SERVER_ERROR = 500
"""From this status on, AWS is at fault and not the request."""

AwsError = (ClientError, BotoCoreError)
"""The errors of a call: AWS refused it, or botocore could not make it or read the answer."""

_UNUSABLE_SETTINGS = (
    ConfigNotFound,
    ConfigParseError,
    InvalidConfigError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    UnknownCredentialError,
)
"""Errors of providers of credentials that tell of wrong settings."""

ClientT = TypeVar("ClientT")


@dataclass(frozen=True, slots=True)
class Service(Generic[ClientT]):
    """A service of AWS, and the type of its clients.

    Attributes:
        name: Its name in boto3.
    """

    name: Literal["cloudwatch", "dynamodb", "iam", "kms", "lambda", "s3", "sqs", "sts"]


CLOUDWATCH: Service[CloudWatchClient] = Service("cloudwatch")
DYNAMODB: Service[DynamoDBClient] = Service("dynamodb")
KMS: Service[KMSClient] = Service("kms")
S3: Service[S3Client] = Service("s3")
SQS: Service[SQSClient] = Service("sqs")
STS: Service[STSClient] = Service("sts")

_making = Lock()
"""A boto3 session is not safe to make clients from on several threads."""


def make_client(
    service: Service[ClientT],
    session: boto3.session.Session | None,
    *,
    region: str | None,
    endpoint_url: str | None,
    config: Config | None = None,
) -> ClientT:
    """Make a client.

    Args:
        service: Which service it is for.
        session: The session with credentials and settings; None to make one from the environment.
        region: The region; None for the session's region (`AWS_DEFAULT_REGION`, its profile), else
            LetsGo's default.
        endpoint_url: A server to use instead of AWS's own.
        config: Timeouts, retries and the like.

    Raises:
        SettingsInvalid: The settings of AWS, or an argument, cannot be used.
        CredentialRetrievalError: The credentials could not be fetched; they may be later.
    """
    try:
        with _making:
            if session is None:
                session, user_agent = _session_of_environment(os.getpid(), aws_settings())
                config = (config or Config()).merge(Config(user_agent=user_agent))
            with _credential_errors("the settings of AWS"):
                credentials = session.get_credentials()
            client = session.client(
                service.name,
                region_name=region or session.region_name or DEFAULT_REGION,
                endpoint_url=endpoint_url,
                config=config,
            )
    except CredentialRetrievalError:
        raise
    # ValueError: an endpoint that is no URL, a region that is no host name. OSError: a file.
    except (BotoCoreError, ValueError, OSError) as error:
        raise SettingsInvalid(
            f"no client for {service.name} can be made (region {region}, endpoint {endpoint_url}): "
            f"{one_line(error)}. Check these and the settings of AWS."
        ) from error
    if credentials is not None:
        client.meta.events.register("provide-client-params", partial(_fetch, credentials))
    client.meta.events.register("after-call-error", _answer_error)
    return cast("ClientT", client)


def watch(client: SQSClient) -> None:
    """Make a client from elsewhere raise only the errors that our own clients raise.

    Such a client shows its credentials only when it signs a request, so they are fetched then.
    """
    events = client.meta.events
    events.register("before-sign", _fetch_to_sign, unique_id="letsgo-credentials")
    events.register("after-call-error", _answer_error, unique_id="letsgo-answers")


def explain(error: ClientError | BotoCoreError) -> str:
    """Return the text of an error, in one line, without the full stop."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        text = one_line(f"{said.get('Code', '')}: {said.get('Message', '')}").strip(": ")
        return (
            text or f"HTTP status {_status_of(error)} without a text of AWS: check AWS_ENDPOINT_URL"
        )
    if isinstance(error, NoCredentialsError):
        return f"{one_line(error)}: set AWS_PROFILE, give keys, or give the machine a role"
    if isinstance(error, EndpointConnectionError):
        return f"{one_line(error)}: check the region, AWS_ENDPOINT_URL, and the way to it"
    return one_line(error)


def error_code(error: ClientError) -> str:
    """Return AWS's code of the error."""
    return error.response.get("Error", {}).get("Code", "")


def passes(error: ClientError, codes: Collection[str]) -> bool:
    """Whether the same request may succeed later: AWS is at fault, or gave one of these codes."""
    return _status_of(error) >= SERVER_ERROR or error_code(error) in codes


def _status_of(error: ClientError) -> int:
    """The HTTP status of an answer."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def one_line(text: object) -> str:
    """Put a text of AWS, botocore or a command on one line, without the full stop."""
    return shown_error(" ".join(str(text).split())).rstrip(". ")


def load_service(service: Literal["sqs", "dynamodb"]) -> None:
    """Load the data that all clients of a service share, also those of processes forked later.

    Only making a client loads all of it. So this makes a client without credentials, and drops it.

    Raises:
        SettingsInvalid: The settings of AWS cannot be used.
    """
    try:
        session = _new_session()
        session.set_credentials("none", "none")
        with _making:
            session.create_client(service, region_name="us-east-1")
    except (BotoCoreError, ValueError, OSError) as error:
        raise SettingsInvalid(
            f"the settings of AWS cannot be used: {one_line(error)}. Check them."
        ) from error


def time_of(answer: Mapping[str, Any]) -> float | None:
    """Return when the server answered, by its `Date` header, in whole seconds since 1970.

    None if the answer has no such header.
    """
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    # A server that leaves the zone out, or writes `-0000`, means GMT too.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@functools.lru_cache(maxsize=1)
def _session_of_environment(
    process: int, settings: frozenset[tuple[str, str]]
) -> tuple[boto3.session.Session, str]:
    """Return the session of all clients that get no session of their own, and its user agent.

    With one session, queue and store fetch credentials once. After a fork, or after a change of
    AWS's settings, there is a new session.
    """
    del process, settings
    own = _new_session()
    user_agent = _user_agent(own)  # boto3 would add its name, and botocore add that again
    return boto3.session.Session(botocore_session=own), user_agent


def aws_settings() -> frozenset[tuple[str, str]]:
    """Return AWS's settings in the environment, by which cached sessions are found."""
    return frozenset((name, value) for name, value in os.environ.items() if name[:4] == "AWS_")


def _new_session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@functools.cache
def _loader(data_path: str | None) -> Loader:
    """Make one loader of service descriptions, which take 8 MB, for all clients."""
    return create_loader(data_path)


def _user_agent(session: botocore.session.Session) -> str:
    """Return the user agent of requests, made once.

    Without it botocore makes a user agent for every request, and some versions make it twice. That
    takes a quarter of the CPU time of sending a small message.
    """
    app = session.get_config_variable("user_agent_appid")
    return f"{session.user_agent()} app/{app}" if app else session.user_agent()


@contextmanager
def _credential_errors(provider: str) -> Iterator[None]:
    """Turn the errors of a provider of credentials into an error of botocore."""
    try:
        yield
    except (CredentialRetrievalError, *_UNUSABLE_SETTINGS):
        raise
    except Exception as error:  # plug-ins, which run commands and ask servers, raise anything
        raise CredentialRetrievalError(
            provider=provider, error_msg=f"{type(error).__name__}: {error}"
        ) from error


def _fetch(credentials: Credentials, **_: object) -> None:
    """Renew expired credentials before a call needs them, so that their errors arise here only."""
    with _credential_errors(credentials.method):
        credentials.get_frozen_credentials()


def _fetch_to_sign(
    request_signer: RequestSigner,
    signing_name: str,
    region_name: str,
    signature_version: object,
    **_: object,
) -> None:
    if isinstance(signature_version, str):  # else UNSIGNED
        with _credential_errors("the client's session"):
            request_signer.get_auth_instance(signing_name, region_name, signature_version)


def _answer_error(exception: Exception, **_: object) -> None:
    """Replace an error of botocore's parser: it may be of any class, and may quote the answer."""
    if not isinstance(exception, AwsError):
        what = f"the answer is not that of AWS ({type(exception).__name__})"
        raise ResponseStreamingError(error=what) from exception
