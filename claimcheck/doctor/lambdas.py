"""Checks a Lambda function behind a queue: its mapping, time limits, memory and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from botocore.exceptions import ClientError

from claimcheck.doctor.findings import QUICK, Check, Finding, carry_out, failure, passed, warning
from claimcheck.doctor.sqs import SqsQueue
from claimcheck.doctor.words import aws_command, in_words
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import open_store
from letsgo_queue.aws_client import Service, error_code, make_client
from letsgo_queue.text import counted

TIMEOUTS_IN_VISIBILITY = 6
"""The queue's visibility timeout must be at least this many times the function's timeout:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""

COPIES_IN_MEMORY = 3
"""Memory holds a body three times: as it is stored, as text, and as the handler gets it."""

MOST_MEMORY_MB = 10_240
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""

BATCH_FAILURES = "ReportBatchItemFailures"

_MB = 1024 * 1024

Answer: TypeAlias = Mapping[str, Any]


class _Lambda(Protocol):
    """The calls of boto3's client that this module makes."""

    def get_function_configuration(self, *, FunctionName: str) -> Answer: ...  # noqa: N803
    def get_function_concurrency(self, *, FunctionName: str) -> Answer: ...  # noqa: N803
    def list_event_source_mappings(self, *, EventSourceArn: str) -> Answer: ...  # noqa: N803
    def close(self) -> None: ...


_LAMBDA: Service[_Lambda] = Service("lambda")


class LambdaFunction:
    """A function, and the region that it is in."""

    def __init__(self, name: str, region: str) -> None:
        """Name the function, without asking Lambda yet.

        Args:
            name: Its name, with `:ALIAS` behind it if the event source has that; or its ARN.
            region: Its region.

        Raises:
            SettingsInvalid: The settings of AWS cannot be used.
        """
        self.name = name
        self._region = region
        self._client = make_client(_LAMBDA, None, region=region, endpoint_url=None, config=QUICK)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def configuration(self) -> Answer | None:
        """Return the function's configuration; None if there is no such function."""
        try:
            return self._client.get_function_configuration(FunctionName=self.name)
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return None

    def check(
        self,
        function: Answer,
        queue: SqsQueue,
        settings: ClaimCheckSettings,
        *,
        largest: int | None,
    ) -> Iterator[Finding]:
        """Compare it with what a worker behind a queue needs.

        Args:
            function: Its configuration.
            queue: The queue.
            settings: How messages are sealed here.
            largest: Bytes of the largest message, of which a batch must fit; None to require only
                room for one message of `max_size`.
        """
        yield passed("lambda", f"{self.name} is there, with {function['MemorySize']:,} MB")
        yield from self._guard("lambda.concurrency", self._check_concurrency)
        yield self._check_visibility(int(function["Timeout"]), queue)
        mappings: list[Answer] = []

        def check_mappings() -> Iterator[Finding]:
            answer = self._client.list_event_source_mappings(EventSourceArn=queue.arn)
            yield from self._check_mappings(answer["EventSourceMappings"], function, queue)
            mappings.extend(_of(function, answer["EventSourceMappings"]))

        yield from self._guard("lambda.mapping", check_mappings)
        batch = max((int(each["BatchSize"]) for each in mappings), default=1)
        theirs = _settings_of(function)
        yield self._check_memory(
            int(function["MemorySize"]), batch, largest, (theirs or settings).max_size
        )
        if theirs is not None:
            yield _check_store(settings, theirs, queue)
            yield _check_signing(settings, theirs)

    def _guard(self, name: str, check: Check) -> Iterator[Finding]:
        return carry_out(name, check, service="lambda")

    def _check_concurrency(self) -> Iterator[Finding]:
        name = self.name.partition(":")[0] if not self.name.startswith("arn:") else self.name
        reserved = self._client.get_function_concurrency(FunctionName=name).get(
            "ReservedConcurrentExecutions"
        )
        if reserved == 0:
            yield failure(
                "lambda.concurrency",
                "its reserved concurrency is 0: it never runs",
                command=self._command("delete-function-concurrency"),
            )
        else:
            said = "none is reserved" if reserved is None else f"{reserved} reserved"
            yield passed("lambda.concurrency", said)

    def _check_visibility(self, timeout: int, queue: SqsQueue) -> Finding:
        name, visibility = "lambda.visibility", queue.visibility_timeout
        wanted = timeout * TIMEOUTS_IN_VISIBILITY
        said = (
            f"messages are invisible for {in_words(visibility)}, and the function may run for "
            f"{in_words(timeout)}"
        )
        mend = queue.command(VisibilityTimeout=str(wanted))
        if visibility < timeout:
            return failure(name, f"{said}: another invocation gets them meanwhile", command=mend)
        if visibility < wanted:
            return warning(
                name,
                f"{said}: AWS asks for {TIMEOUTS_IN_VISIBILITY} times that, as Lambda tries again "
                "where it is throttled",
                command=mend,
            )
        return passed(name, said)

    def _check_mappings(
        self, found: Sequence[Answer], function: Answer, queue: SqsQueue
    ) -> Iterator[Finding]:
        ours = _of(function, found)
        for each in found:
            if each not in ours:
                other = str(each["FunctionArn"]).rpartition("function:")[2]
                yield warning(
                    "lambda.others",
                    f"{other} has an event source mapping for the queue too: each message goes to "
                    "one of the two",
                    command=self._command(
                        "delete-event-source-mapping", whole=False, uuid=each["UUID"]
                    ),
                )
        if not ours:
            yield failure(
                "lambda.mapping",
                f"no event source mapping gives it the messages of {queue.name}",
                command=self._command(
                    "create-event-source-mapping",
                    event_source_arn=queue.arn,
                    function_response_types=BATCH_FAILURES,
                ),
            )
        for each in ours:
            yield from self._check_mapping(each)

    def _check_mapping(self, mapping: Answer) -> Iterator[Finding]:
        def update(**options: str) -> str:
            return self._command(
                "update-event-source-mapping", whole=False, uuid=mapping["UUID"], **options
            )

        if mapping["State"] in {"Disabled", "Disabling"}:
            yield failure(
                "lambda.mapping",
                "its event source mapping is disabled: nothing is received",
                command=update(enabled=""),
            )
        else:
            yield passed("lambda.mapping", f"batches of up to {mapping['BatchSize']}")
        if BATCH_FAILURES in mapping.get("FunctionResponseTypes", []):
            yield passed("lambda.failures", f"{BATCH_FAILURES} is on")
        else:
            yield failure(
                "lambda.failures",
                f"{BATCH_FAILURES} is off: Lambda deletes messages that failed",
                command=update(function_response_types=BATCH_FAILURES),
            )

    def _check_memory(self, memory: int, batch: int, largest: int | None, max_size: int) -> Finding:
        """Check that memory suffices for a whole batch, or for one message of `max_size`."""
        messages, size = (1, max_size) if largest is None else (batch, largest)
        needed = messages * size
        wanted = -(-needed * COPIES_IN_MEMORY // _MB)
        said = f"{memory:,} MB for {counted(messages, 'message')} of up to {size:,} bytes" + (
            " (CLAIMCHECK_MAX_SIZE)" if largest is None else ""
        )
        if wanted <= memory:
            return passed("lambda.memory", said)
        return warning(
            "lambda.memory",
            f"{said}: handling them takes {COPIES_IN_MEMORY} times that",
            advice="raise it, or take smaller batches, or lower CLAIMCHECK_MAX_SIZE at both ends",
            command=self._command(
                "update-function-configuration", memory_size=str(min(wanted, MOST_MEMORY_MB))
            ),
        )

    def _command(self, operation: str, *, whole: bool = True, **options: str) -> str:
        function = {"function_name": self.name} if whole else {}
        return aws_command("lambda", operation, self._region, **function, **options)


def _of(function: Answer, mappings: Sequence[Answer]) -> list[Answer]:
    """The mappings of a function, also those that name a version or an alias."""
    arn = ":".join(str(function["FunctionArn"]).split(":")[:7])
    return [each for each in mappings if f"{each['FunctionArn']}:".startswith(f"{arn}:")]


def _settings_of(function: Answer) -> ClaimCheckSettings | None:
    """The claim check's settings in the function's environment; None if that cannot be read.

    Raises:
        SettingsInvalid: A setting there cannot be used.
    """
    environment = function.get("Environment", {})
    if "Error" in environment:
        return None
    return ClaimCheckSettings.from_environment(environment.get("Variables", {}))


def _check_store(ours: ClaimCheckSettings, theirs: ClaimCheckSettings, queue: SqsQueue) -> Finding:
    def labels(urls: Sequence[str]) -> set[str]:
        return {open_store(url, region=queue.region).label for url in urls}

    sent = labels(ours.stores_for(queue.url))
    read = labels([*theirs.stores_for(queue.url), *theirs.read_stores])
    missing = sorted(sent - read)
    if missing:
        report = warning if theirs.store is None else failure
        return report(
            "lambda.store",
            f"messages are stored in {', '.join(missing)} here, and the function reads "
            f"{', '.join(sorted(read))}"
            + (", unless its code says another" if theirs.store is None else ""),
            advice="give both the same CLAIMCHECK_STORE, or the function CLAIMCHECK_READ_STORES",
        )
    return passed("lambda.store", f"it reads {', '.join(sorted(read))}")


def _check_signing(ours: ClaimCheckSettings, theirs: ClaimCheckSettings) -> Finding:
    name, accepted = "lambda.keys", theirs.signing_keys
    if accepted is not None and (ours.signing_keys or [""])[0] not in accepted:
        return failure(
            name,
            "CLAIMCHECK_SIGNING_KEY differs here and in the function: it refuses messages",
            advice="give both the same key",
        )
    if (ours.encryption is None) != (theirs.encryption is None):
        has, lacks = "here", "in the function"
        if ours.encryption is None:
            has, lacks = lacks, has
        return failure(
            name,
            f"CLAIMCHECK_ENCRYPTION is set {has} and not {lacks}: the function refuses messages",
            advice="give both the same key",
        )
    return passed(name, "the function opens what is sent from here")
