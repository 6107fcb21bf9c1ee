"""The console's extension: opens sealed bodies, says what the doctor finds, and has sections."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import PackageLoader

from claimcheck.console.audit import audit_section, sample_section
from claimcheck.console.claims import ClaimPages
from claimcheck.console.listing import ConsoleStore
from claimcheck.console.notices import Notices
from claimcheck.core.peek import peek
from claimcheck.settings import ClaimCheckSettings, claim_check_for, region_for, trust_for
from claimcheck.stores import open_store
from claimcheck.stores.inventory import HasInventory
from letsgo_queue.console.extension import ConsoleOptions, Notice, OpenedBody, Section
from letsgo_queue.console.jobs import Jobs
from letsgo_queue.console.pages import Pages
from letsgo_queue.envelope import is_sealed, unwrap
from letsgo_queue.errors import LetsGoError
from letsgo_queue.settings import QueueSettings


class ClaimsInConsole:
    """Opens sealed bodies; see `letsgo_queue.console.extension.Extension`."""

    templates = PackageLoader("claimcheck.console")

    def __init__(self, options: ConsoleOptions) -> None:
        """Open nothing yet.

        Args:
            options: The options of the console's command.

        Raises:
            SettingsInvalid: A setting of the environment cannot be used.
            AuditInvalid: The audit's report cannot be read.
        """
        settings = ClaimCheckSettings.from_environment()
        if options.store is not None:
            settings = settings.model_copy(update={"store": options.store})
        self._settings = settings
        self._notices = Notices(options)
        self._read_only = options.read_only
        self._queues: Sequence[str | None] = options.queues or [None]
        self._stores = _stores(options.queues, settings)
        self._audit = None if options.audit is None else audit_section(options.audit)

    def sections(self, pages: Pages, jobs: Jobs) -> Sequence[Section]:
        """Return the sections that show claims and the audit."""
        sections = [self._audit or sample_section(pages, self._queues, read_only=self._read_only)]
        if self._stores:
            claims = ClaimPages(pages, self._stores, jobs, read_only=self._read_only)
            sections.insert(0, Section("Claims", "/claims", claims.routes))
        return sections

    def open(self, body: str, *, queue: str) -> OpenedBody | None:
        """Open a body, and leave its claim as it is."""
        wrapped = unwrap(body)
        if wrapped is not None:
            body = wrapped.body
        if not is_sealed(body):
            return None
        settings = self._settings
        try:
            text = peek(
                body,
                stores=lambda: claim_check_for(queue, settings).stores,
                trust=trust_for(queue, settings),
                max_size=settings.max_size,
            )
        except LetsGoError as error:
            return OpenedBody(problem=str(error))
        return None if text is None else OpenedBody(len(text.encode()), text)

    def notices(self) -> Sequence[Notice]:
        """Return what the doctor found last, and what the month has cost so far."""
        return self._notices.known()

    def start(self) -> None:
        """Have the doctor examine the queues from time to time."""
        self._notices.start()

    def close(self) -> None:
        """Stop the doctor, and close the stores of the pages. Stores for bodies are shared."""
        self._notices.stop()
        for each in self._stores:
            each.store.close()


def _stores(queues: Sequence[str], settings: ClaimCheckSettings) -> Sequence[ConsoleStore]:
    """The stores that messages of these queues are written to or read from, if they list claims."""
    found: dict[str, str | None] = {}
    for queue in queues or [QueueSettings.from_environment().url or ""]:
        for url in (*settings.stores_for(queue), *settings.read_stores):
            found.setdefault(url, region_for(queue))
    stores = [open_store(url, region=region) for url, region in found.items()]
    listed = [each for each in stores if isinstance(each, HasInventory)]
    return [ConsoleStore(number, store, queues or [None]) for number, store in enumerate(listed)]
