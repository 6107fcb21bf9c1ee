"""Makes the overview's notices: what the doctor found, and what the month has cost so far.

Both ask AWS, which may take a while. So a thread asks from time to time, and no page waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime

from claimcheck.core.cost import queue_units
from claimcheck.core.prices import Prices
from letsgo_queue.admin.watch import Billed, open_watch
from letsgo_queue.console.extension import ConsoleOptions, Level, Notice
from letsgo_queue.console.pages import moment
from letsgo_queue.deployment import DEFAULT_REGION
from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger
from letsgo_queue.settings import QueueSettings, region_in
from letsgo_queue.text import counted

logger = get_logger(__name__)

PAUSE_SECONDS = 600.0
BEGIN_SECONDS = 1.0
"""How long the thread waits first, so that loading AWS's libraries does not slow the first page."""

ENDING_SECONDS = 2.0
"""How long `stop` waits for the thread. The thread changes nothing, so cutting it off is safe."""


class Notices:
    """Keeps the notices of the queues of a console."""

    def __init__(
        self, options: ConsoleOptions, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Prepare to ask, without asking yet.

        Args:
            options: The options of the console's command.
            clock: The time, in UTC.
        """
        self._queues: Sequence[str | None] = options.queues or [None]
        self._store = options.store
        self._clock = clock
        self._known: Sequence[Notice] = [Notice("doctor", "looks at everything now.")]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="letsgo-console-doctor", daemon=True)

    def known(self) -> Sequence[Notice]:
        """Return the latest notices."""
        return self._known

    def start(self) -> None:
        """Start asking, from time to time."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stopping.set()
        self._thread.join(ENDING_SECONDS)

    def ask(self) -> None:
        """Ask once, and keep the answers."""
        self._known = [*self._costs(), *self._findings()]

    def _run(self) -> None:
        self._stopping.wait(BEGIN_SECONDS)
        while not self._stopping.is_set():
            try:
                self.ask()
            except LetsGoError as error:
                self._known = [Notice("doctor", str(error), "fail")]
            except Exception:  # a defect; the console goes on without notices
                logger.exception("the doctor broke off")
                self._known = [Notice("doctor", "broke off; the console's log says why.", "warn")]
            self._stopping.wait(PAUSE_SECONDS)

    def _findings(self) -> Iterator[Notice]:
        from claimcheck.doctor import Level as Found
        from claimcheck.doctor import examine  # loads AWS's libraries, slowly

        found: dict[Notice, list[str]] = {}
        passed = 0
        for queue in self._queues:
            for each in examine(queue=queue, store=self._store):
                if each.level is Found.PASS:
                    passed += 1
                    continue
                text = f"{each.detail}. {each.advice}" if each.advice else f"{each.detail}."
                level: Level = "warn" if each.level is Found.WARN else "fail"
                notice = Notice(each.name, text, level, each.command)
                found.setdefault(notice, []).append(_name(queue))
        for notice, names in found.items():
            of_all = len(names) == len(self._queues)
            yield notice if of_all else notice.of(", ".join(names))
        yield Notice("doctor", f"{counted(passed, 'check')} passed, {moment(self._clock())}.")

    def _costs(self) -> Iterator[Notice]:
        month = self._clock().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        settings = QueueSettings.from_environment()
        for queue in self._queues:
            with closing(open_watch(queue, settings)) as watch:
                billed = watch.billed(month)
                if billed is not None:
                    region = region_in(watch.url) or settings.region or DEFAULT_REGION
                    yield Notice(
                        f"cost of {_name(watch.url)}", cost_text(billed, watch.url, region)
                    )


def cost_text(billed: Billed, url: str, region: str) -> str:
    """Say what a queue costs, in words.

    Args:
        billed: The messages that AWS bills.
        url: The queue's URL.
        region: The queue's region, whose prices count.
    """
    try:
        prices = Prices.of(region)
    except ValueError:
        return f"the prices of {region} are not known here."
    units = queue_units(
        sent=billed.sent,
        sent_bytes=billed.sent_bytes,
        received=billed.received,
        others=billed.deleted + billed.empty,
        fifo=url.endswith(".fifo"),
    )
    return (
        f"at most ${prices.dollars(units):,.2f} this month so far. This is an estimate of the "
        f"queue's requests from what CloudWatch counted ({billed.sent:,} messages sent), as if "
        "none were in batches. Stores, keys and dead letters are not in it."
    )


def _name(url: str | None) -> str:
    return "the queue" if url is None else url.partition("?")[0].rpartition("/")[2]
