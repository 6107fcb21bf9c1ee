"""The console's extension: opens sealed bodies, says what the doctor finds, and has sections."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import DictLoader

from claimcheck.console.audit import audit_section
from claimcheck.console.notices import Notices
from claimcheck.core.peek import peek
from claimcheck.settings import ClaimCheckSettings, claim_check_for, trust_for
from letsgo_queue.console.extension import ConsoleOptions, Notice, OpenedBody, Section
from letsgo_queue.console.pages import Pages
from letsgo_queue.envelope import is_sealed, unwrap
from letsgo_queue.errors import LetsGoError


class ClaimsInConsole:
    """Opens what was sealed; see `letsgo_queue.console.extension.Extension`."""

    templates = DictLoader({})

    def __init__(self, options: ConsoleOptions) -> None:
        """Open nothing yet.

        Args:
            options: What the console was started with.

        Raises:
            SettingsInvalid: A setting of the environment cannot be used.
            AuditInvalid: The audit's report cannot be read.
        """
        settings = ClaimCheckSettings.from_environment()
        if options.store is not None:
            settings = settings.model_copy(update={"store": options.store})
        self._settings = settings
        self._notices = Notices(options)
        self._audit = None if options.audit is None else audit_section(options.audit)

    def sections(self, pages: Pages) -> Sequence[Section]:
        """The audit, where there is a report."""
        return () if self._audit is None else (self._audit,)

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
        """What the doctor found last, and what the month costs so far."""
        return self._notices.known()

    def start(self) -> None:
        """Have the doctor look, from time to time."""
        self._notices.start()

    def close(self) -> None:
        """End that. Stores are shared, and stay open."""
        self._notices.stop()
