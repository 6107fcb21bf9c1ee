"""Runs all checks of the doctor, each after those whose results it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from claimcheck.doctor.account import caller_in, check_account, check_region
from claimcheck.doctor.embedded import check_embedded
from claimcheck.doctor.findings import Finding, carry_out, failure, passed, warning
from claimcheck.doctor.lambdas import LambdaFunction
from claimcheck.doctor.rights import check_rights, principal_of
from claimcheck.doctor.round_trip import check_round_trip
from claimcheck.doctor.settings import check_settings
from claimcheck.doctor.sqs import SqsQueue, check_attributes, check_redrive, read_queue
from claimcheck.doctor.stores import (
    check_encryption,
    check_store,
    check_store_region,
)
from claimcheck.doctor.versions import check_versions
from claimcheck.errors import SettingsInvalid
from claimcheck.policies import policy_statements
from claimcheck.rights import Role
from claimcheck.settings import ClaimCheckSettings, encryption_for, region_for
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from letsgo_queue.aws_client import AwsError
from letsgo_queue.deployment import DEFAULT_REGION
from letsgo_queue.errors import LetsGoError
from letsgo_queue.settings import QueueSettings, is_sqs
from letsgo_queue.transports import open_transport

if TYPE_CHECKING:
    from letsgo_queue.worker.worker import Worker

_EMBEDDED = ("sqlite://", "memory://")


def examine(
    *,
    queue: str | None = None,
    store: str | None = None,
    worker: Worker | None = None,
    function: str | None = None,
    roles: Sequence[Role] = (),
    largest: int | None = None,
    round_trip: bool = False,
    temporary_queue: bool = False,
    clock: Callable[[], float] = time.time,
) -> Sequence[Finding]:
    """Check everything that messages need.

    Each call to AWS has a time limit. A check that gets no answer is a finding too.

    Args:
        queue: The queue's URL; by default the worker's queue, else the queue of the environment.
        store: The store's URL; by default the store of the environment.
        worker: The worker of the queue, whose retry policies and time limits are checked.
        function: The Lambda function behind the queue.
        roles: Check that we have the rights of these roles.
        largest: Bytes of the largest message; if given, the function's memory must hold a whole
            batch of such messages.
        round_trip: Whether to seal, open and complete three messages in each store.
        temporary_queue: Whether to make a queue with the same settings, send these messages
            through it, and delete it again. This implies `round_trip`.
        clock: This machine's clock: seconds since 1970.

    Raises:
        SettingsInvalid: A setting of the environment cannot be used.
    """
    settings = ClaimCheckSettings.from_environment()
    if store is not None:
        settings = settings.model_copy(update={"store": store, "stores": {}})
    if queue is None and worker is not None and isinstance(worker.queue, str):
        queue = worker.queue
    examination = _Examination(
        settings=settings,
        worker=worker,
        function=function,
        roles=roles,
        largest=largest,
        clock=clock,
    )
    return list(
        examination.run(
            queue, round_trip=round_trip or temporary_queue, temporary_queue=temporary_queue
        )
    )


class _Examination:
    """One run of all checks; it keeps what later checks need."""

    def __init__(
        self,
        *,
        settings: ClaimCheckSettings,
        worker: Worker | None,
        function: str | None,
        roles: Sequence[Role],
        largest: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._function = function
        self._roles = roles
        self._largest = largest
        self._clock = clock
        self._queue: SqsQueue | None = None
        self._stores: list[ClaimStore] = []
        self._said = set[str]()

    def run(
        self, queue: str | None, *, round_trip: bool, temporary_queue: bool
    ) -> Iterator[Finding]:
        """Run the checks, and yield their findings."""
        yield from carry_out("versions", check_versions, service="")
        url, not_found = _find_queue(queue)
        for each in carry_out("settings", lambda: check_settings(url, self._settings), service=""):
            self._said.add(each.detail)
            yield each
        yield from not_found
        region = region_for(url)
        yield from self._open_stores(url, region)
        if not url.startswith(_EMBEDDED) or any(
            not each.url.startswith(_EMBEDDED) for each in self._stores
        ):
            yield from carry_out("region", lambda: check_region(region), service="")
            yield from carry_out(
                "credentials",
                lambda: check_account(region or DEFAULT_REGION, clock=self._clock),
                service="sts",
            )
        if is_sqs(url):
            yield from carry_out("queue", lambda: self._check_sqs(url, region), service="sqs")
        elif url:
            yield from carry_out("queue", lambda: check_embedded(url, self._worker), service="")
        if self._function is not None:
            yield from carry_out("lambda", self._check_lambda, service="lambda")
        for role in self._roles:
            check = partial(self._check_caller, role, url, region or DEFAULT_REGION)
            yield from carry_out(f"rights.{role}", check, service="iam")
        for store in self._stores:
            yield from self._check_store(store, url)
        yield from carry_out("encryption", lambda: self._check_encryption(url), service="kms")
        if round_trip:
            like = self._queue if temporary_queue else None
            if temporary_queue and like is None:
                yield warning("round-trip.queue", "not made: only a queue on SQS needs it")
            yield from carry_out(
                "round-trip.queue",
                lambda: check_round_trip(url, self._settings, like=like),
                service="sqs",
            )

    def _open_stores(self, queue: str, region: str | None) -> Iterator[Finding]:
        """Open the stores that messages go to, and yield why one of them cannot be opened."""
        if not queue and self._settings.store is None:
            return  # the queue decides
        for url in self._settings.stores_for(queue):
            try:
                self._stores.append(open_store(url, region=region))
            except SettingsInvalid as error:
                yield from self._unless_said("store", error)

    def _unless_said(self, name: str, error: SettingsInvalid) -> Iterator[Finding]:
        """Yield a failure, unless the check of the settings has said it already."""
        if str(error) not in self._said:
            yield failure(name, str(error))

    def _check_sqs(self, url: str, region: str | None) -> Iterator[Finding]:
        in_lambda = self._function is not None
        self._queue = queue = read_queue(url, region)
        if queue is None:
            yield failure(
                "queue",
                f"{url} does not exist",
                advice="check region, account and name, or make it",
                command=f"letsgo-queue queue create {url}",
            )
            return
        yield from check_attributes(
            queue, settings=self._settings, worker=self._worker, in_lambda=in_lambda
        )
        yield from check_redrive(queue, self._worker, in_lambda=in_lambda)

    def _check_lambda(self) -> Iterator[Finding]:
        name, queue = self._function, self._queue
        assert name is not None
        if queue is None:
            yield warning("lambda", "not known: its queue has to be known first")
            return
        function = LambdaFunction(name, queue.region)
        try:
            found = function.configuration()
            if found is None:
                yield failure(
                    "lambda",
                    f"there is no function {name} in {queue.region}",
                    advice="check --lambda and the region",
                )
                return
            yield from function.check(found, queue, self._settings, largest=self._largest)
            check = partial(self._check_rights, found["Role"], Role.WORKER, queue.url, queue.region)
            yield from carry_out("rights.worker", check, service="iam")
        finally:
            function.close()

    def _check_caller(self, role: Role, url: str, region: str) -> Iterator[Finding]:
        principal = principal_of(caller_in(region))
        if principal is None:
            yield passed(f"rights.{role}", "root may do everything")
        else:
            yield from self._check_rights(principal, role, url, region)

    def _check_rights(self, principal: str, role: Role, url: str, region: str) -> Iterator[Finding]:
        statements = policy_statements(
            role,
            queue=url,
            dead_letter_queue=None if self._queue is None else self._queue.dead_letter_url,
            settings=self._settings,
        )
        return check_rights(principal, role, statements, region=region)

    def _check_store(self, store: ClaimStore, queue: str) -> Iterator[Finding]:
        yield from carry_out("store", lambda: check_store(store, queue, self._settings), service="")
        if self._queue is not None:
            region = self._queue.region
            yield from carry_out(
                "store.region", lambda: check_store_region(store, region), service=""
            )

    def _check_encryption(self, queue: str) -> Iterator[Finding]:
        try:
            encryption = encryption_for(queue, self._settings)
        except SettingsInvalid as error:
            return self._unless_said("encryption", error)
        return iter(()) if encryption is None else check_encryption(encryption)


def _find_queue(queue: str | None) -> tuple[str, Sequence[Finding]]:
    """Return the queue's URL; or an empty one, with a finding that says why it is not known."""
    try:
        return _url_of(queue), ()
    except LetsGoError as error:
        return "", [failure("queue", str(error))]


def _url_of(queue: str | None) -> str:
    """Return the queue's URL, which it finds as a client does.

    Raises:
        LetsGoError: There is none, or several, or AWS did not say.
    """
    try:
        transport = open_transport(queue, QueueSettings.from_environment())
    except AwsError as error:
        raise LetsGoError(f"the queue could not be looked for: {error}") from None
    transport.close()
    return transport.url
