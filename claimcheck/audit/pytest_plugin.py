"""The pytest plugin: weighs what tests send, and prints what it found when they are done.

    pytest --claimcheck-audit

It is registered by an entry point and does nothing unless it is asked to. What a test sends it sees
through the listeners of every client, so tests need no change. Under pytest-xdist each worker
weighs its own tests and the controller adds their reports up. Messages that other processes send,
such as a worker that a test starts, are not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from claimcheck.audit.recorder import SizeAudit
    from claimcheck.audit.report import AuditReport
    from claimcheck.audit.settings import AuditSettings
    from claimcheck.audit.text import Line, Tone
    from letsgo_queue.events import Event

_OPTION = "--claimcheck-audit"
_WORKER_OUTPUT = "claimcheck_audit"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    audit: bool
    json: Path | None
    html: Path | None
    baseline: Path | None
    update: bool

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        """Read them."""
        return cls(
            audit=config.getoption("claimcheck_audit"),
            json=config.getoption("claimcheck_audit_json"),
            html=config.getoption("claimcheck_audit_html"),
            baseline=config.getoption("claimcheck_audit_baseline"),
            update=config.getoption("claimcheck_audit_update"),
        )

    @property
    def wanted(self) -> bool:
        """Whether any of them asks for the audit."""
        return self.audit or self.update or any((self.json, self.html, self.baseline))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("claimcheck", "size audit of queue messages")
    group.addoption(
        _OPTION,
        action="store_true",
        help="weigh the messages that tests send through letsgo_queue or claimcheck; print a table",
    )
    for name, what in (
        ("json", "write the report as JSON"),
        ("html", "write the report as one HTML page"),
        ("baseline", "compare with the report in FILE, and fail where a message type has grown"),
    ):
        group.addoption(f"{_OPTION}-{name}", type=Path, metavar="FILE", help=what)
    group.addoption(
        f"{_OPTION}-update",
        action="store_true",
        help=f"write the file of {_OPTION}-baseline instead of comparing with it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start weighing, if that is asked for."""
    options = Options.of(config)
    if not options.wanted or config.option.collectonly:
        return
    from claimcheck.audit.settings import AuditSettings
    from claimcheck.errors import ClaimCheckError

    try:
        settings = AuditSettings.from_pyproject(_nearest_pyproject(config.rootpath))
        baseline = _read_baseline(options)
    except ClaimCheckError as error:
        raise pytest.UsageError(str(error)) from None
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(_WorkerAudit(config, settings), "claimcheck-audit-run")
    else:
        plugin = _Audit(settings, options, baseline)
        config.pluginmanager.register(plugin, "claimcheck-audit-run")


def _nearest_pyproject(folder: Path) -> Path:
    """That of the folder, or of the next one above that has one."""
    candidates = [each / "pyproject.toml" for each in (folder, *folder.parents)]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _read_baseline(options: Options) -> AuditReport | None:
    from claimcheck.audit.report import AuditReport
    from claimcheck.errors import SettingsInvalid

    if options.update:
        if options.baseline is None:
            raise SettingsInvalid(f"{_OPTION}-update: say which file with {_OPTION}-baseline FILE.")
        return None
    if options.baseline is None:
        return None
    if not options.baseline.exists():
        raise SettingsInvalid(
            f"{_OPTION}-baseline {options.baseline}: there is no such file. Make it with "
            f"{_OPTION}-update."
        )
    return AuditReport.load(options.baseline)


class _Weighing:
    """Weighs what is sent in this process, and knows which test is running."""

    def __init__(self, settings: AuditSettings) -> None:
        from claimcheck.audit.recorder import SizeAudit

        self.settings = settings
        # Every type counts: a budget could be that of any.
        self.audit: SizeAudit = SizeAudit(settings, label=lambda: self._test, max_types=sys.maxsize)
        self._test: str | None = None
        self._weighed = not settings.tests
        self._patch = pytest.MonkeyPatch()
        self._listen()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid
        if self.settings.tests:
            self._weighed = any(fnmatchcase(nodeid, each) for each in self.settings.tests)

    def pytest_unconfigure(self) -> None:
        self._patch.undo()

    def _listen(self) -> None:
        """Have every client's events, also of those that are made later or were made already."""
        from letsgo_queue.events import Listeners

        emit = Listeners.emit
        weighing = Listeners()
        weighing.add(self.audit)

        def emit_and_weigh(listeners: Listeners, event: Event) -> None:
            emit(listeners, event)
            if self._weighed:
                emit(weighing, event)

        self._patch.setattr(Listeners, "emit", emit_and_weigh)
        self._patch.setattr(Listeners, "__bool__", lambda _: True)


class _WorkerAudit(_Weighing):
    """A worker of pytest-xdist: hands its report to the controller."""

    def __init__(self, config: pytest.Config, settings: AuditSettings) -> None:
        super().__init__(settings)
        self._output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]  # xdist's

    def pytest_sessionfinish(self) -> None:
        self._output[_WORKER_OUTPUT] = self.audit.report().model_dump_json()


class _Audit(_Weighing):
    """The process that the user started: makes the report, and judges it."""

    def __init__(
        self, settings: AuditSettings, options: Options, baseline: AuditReport | None
    ) -> None:
        super().__init__(settings)
        self._options = options
        self._baseline = baseline
        self._workers = 0
        self._reports = 0
        self._lines: list[Line] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self) -> None:
        self._workers += 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        from claimcheck.audit.report import AuditReport

        if report := getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT):
            self._reports += 1
            self.audit.merge(AuditReport.model_validate_json(report))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from claimcheck.audit.text import problem_lines, report_lines

        report = self.audit.report()
        self._lines += report_lines(report)
        judged = [*problem_lines(report), *self._judge_workers(), *self._compare(report)]
        judged += self._write(report, passed=session.exitstatus == pytest.ExitCode.OK)
        self._lines += judged
        failed = any(line.tone == "failure" for line in judged)
        if failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from claimcheck.audit.text import text_for

        encoding = getattr(sys.__stdout__, "encoding", None)
        terminalreporter.write_sep("=", "claimcheck size audit")
        for line in self._lines:
            terminalreporter.write_line(text_for(line, encoding), **_MARKUP[line.tone])

    def _judge_workers(self) -> Iterator[Line]:
        from claimcheck.audit.text import Line

        if missing := self._workers - self._reports:
            yield Line(
                f"incomplete: {missing} of {self._workers} workers ended without a report; what "
                "their tests sent is not in it",
                "warning",
            )

    def _compare(self, report: AuditReport) -> Iterator[Line]:
        from claimcheck.audit.comparison import compare
        from claimcheck.audit.text import Line, growth_lines

        if self._baseline is None:
            return
        changes = compare(self._baseline, report)
        grown = list(growth_lines(changes, self.settings.max_growth))
        yield from grown
        if not grown:
            yield Line(f"nothing has grown over {self._options.baseline}", "dim")

    def _write(self, report: AuditReport, *, passed: bool) -> Iterator[Line]:
        """Write the files that are asked for; a line for each."""
        from claimcheck.audit.report import write_text
        from claimcheck.audit.text import Line
        from claimcheck.errors import AuditInvalid

        options = self._options
        try:
            if options.json is not None:
                report.save(options.json)
                yield Line(f"JSON: {options.json}", "dim")
            if options.html is not None:
                from claimcheck.audit.page import page

                write_text(options.html, page(report))
                yield Line(f"HTML: {options.html}", "dim")
            if options.update and options.baseline is not None:
                if passed:
                    report.summary().save(options.baseline)
                    yield Line(f"baseline written: {options.baseline}", "dim")
                else:
                    yield Line(
                        f"{options.baseline} was not written, because not every test passed",
                        "failure",
                    )
        except AuditInvalid as error:
            yield Line(str(error), "failure")


_MARKUP: dict[Tone, dict[str, bool]] = {
    "plain": {},
    "heading": {"bold": True},
    "dim": {"light": True},
    "warning": {"yellow": True},
    "failure": {"red": True},
}
