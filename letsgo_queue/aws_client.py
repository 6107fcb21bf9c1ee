"""Makes boto3's clients, for the SQS transport, the claim stores and the keys of KMS.

What goes wrong in a call of theirs is an `AwsError`. botocore also lets through what a provider of
credentials raises (which runs a command, reads a token file or asks another service), and what its
parser raises over an answer that is not AWS's. Here both become errors of botocore's kind, so that
callers know two classes, and make errors of ours of them. Settings that cannot be used are
`SettingsInvalid` from the start.

It imports nothing of ours but leaf modules, so that both packages can stand on it.
"""

from __future__ import annotations

# Else the first connection loads it, and a process that forks meanwhile has half of it.
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
"""From this status on AWS is in trouble, and not the request."""

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
"""The errors of providers of credentials about settings."""

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
        session: Whose credentials and settings it has; None for those of the environment.
        region: The region; None for that of the session (`AWS_DEFAULT_REGION`, its profile), and
            else LetsGo's default.
        endpoint_url: Another server than AWS's own.
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
    """Have a client that was made elsewhere raise no other errors than ours do.

    It does not give its credentials away before it signs a request.
    """
    events = client.meta.events
    events.register("before-sign", _fetch_to_sign, unique_id="letsgo-credentials")
    events.register("after-call-error", _answer_error, unique_id="letsgo-answers")


def explain(error: ClientError | BotoCoreError) -> str:
    """The text of an error, in one line, without the full stop."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        text = one_line(f"{said.get('Code', '')}: {said.get('Message', '')}").strip(": ")
        return (
            text or f"HTTP status {_status_of(error)} without a word of AWS: check AWS_ENDPOINT_URL"
        )
    if isinstance(error, NoCredentialsError):
        return f"{one_line(error)}: set AWS_PROFILE, give keys, or give the machine a role"
    if isinstance(error, EndpointConnectionError):
        return f"{one_line(error)}: check the region, AWS_ENDPOINT_URL, and the way to it"
    return one_line(error)


def error_code(error: ClientError) -> str:
    """AWS's code of the error."""
    return error.response.get("Error", {}).get("Code", "")


def passes(error: ClientError, codes: Collection[str]) -> bool:
    """Whether the same request may succeed later: AWS is in trouble, or says one of these codes."""
    return _status_of(error) >= SERVER_ERROR or error_code(error) in codes


def _status_of(error: ClientError) -> int:
    """The HTTP status of an answer."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def one_line(text: object) -> str:
    """A text of AWS or botocore, or of a command that botocore ran, without the full stop."""
    return shown_error(" ".join(str(text).split())).rstrip(". ")


def load_service(service: Literal["sqs", "dynamodb"]) -> None:
    """Load what all clients of a service share; processes that are forked later share it too.

    Only making a client loads all of it. This one has no credentials, and is dropped.

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
    """When the server gave an answer, by its clock: the `Date` header, in whole seconds since 1970.

    None where it does not say.
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


@contextmanager
def _credential_errors(provider: str) -> Iterator[None]:
    """Raise what a provider of credentials raises as an error of botocore."""
    try:
        yield
    except (CredentialRetrievalError, *_UNUSABLE_SETTINGS):
        raise
    except Exception as error:  # a plug-in, which runs commands and asks others: it raises anything
        raise CredentialRetrievalError(
            provider=provider, error_msg=f"{type(error).__name__}: {error}"
        ) from error


def _fetch(credentials: Credentials, **_: object) -> None:
    """Fetch credentials that have expired before a call needs them; these errors have one place."""
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
    """Botocore's parser raises anything over JSON of another shape. Its text may quote that."""
    if not isinstance(exception, AwsError):
        what = f"the answer is not that of AWS ({type(exception).__name__})"
        raise ResponseStreamingError(error=what) from exception
