"""The pytest plugin: weighs the messages that tests send, and prints a report at the end.

    pytest --claimcheck-audit

An entry point registers it; without an option of its own it does nothing. It listens to every
client in the process, so tests need no change. Under pytest-xdist each worker weighs the messages
of its own tests, and the controller adds the reports up. It does not see the messages of other
processes, such as a worker that a test starts.
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
    """The options on the command line."""

    audit: bool
    json: Path | None
    html: Path | None
    baseline: Path | None
    update: bool

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        """Read the options."""
        return cls(
            audit=config.getoption("claimcheck_audit"),
            json=config.getoption("claimcheck_audit_json"),
            html=config.getoption("claimcheck_audit_html"),
            baseline=config.getoption("claimcheck_audit_baseline"),
            update=config.getoption("claimcheck_audit_update"),
        )

    @property
    def wanted(self) -> bool:
        """Whether one of them asks for the audit."""
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
    """Start weighing, if an option asks for it."""
    options = Options.of(config)
    if not options.wanted or config.option.collectonly:
        return
    from claimcheck.audit.settings import AuditSettings
    from letsgo_queue.errors import LetsGoError

    try:
        settings = AuditSettings.from_pyproject(_nearest_pyproject(config.rootpath))
        baseline = _read_baseline(options)
    except LetsGoError as error:
        raise pytest.UsageError(str(error)) from None
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(_WorkerAudit(config, settings), "claimcheck-audit-run")
    else:
        plugin = _Audit(settings, options, baseline)
        config.pluginmanager.register(plugin, "claimcheck-audit-run")


def _nearest_pyproject(folder: Path) -> Path:
    """The `pyproject.toml` of a folder, or of the nearest folder above that has one."""
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
            f"{_OPTION}-baseline {options.baseline}: there is no such file. {_OPTION}-update makes "
            "it."
        )
    return AuditReport.load(options.baseline)


class _Weighing:
    """Weighs the messages of this process, and knows which test is running."""

    def __init__(self, settings: AuditSettings) -> None:
        from claimcheck.audit.recorder import SizeAudit
        from letsgo_queue.events import listen_to_all

        self.settings = settings
        # Any type may have a budget, so all are told apart.
        self.audit: SizeAudit = SizeAudit(settings, label=lambda: self._test, max_types=sys.maxsize)
        self._test: str | None = None
        self._weighed = not settings.tests
        self._stop_listening = listen_to_all(self._hear)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid
        if self.settings.tests:
            self._weighed = any(fnmatchcase(nodeid, each) for each in self.settings.tests)

    def pytest_unconfigure(self) -> None:
        self._stop_listening()

    def _hear(self, event: Event) -> None:
        if self._weighed:
            self.audit(event)


class _WorkerAudit(_Weighing):
    """Hands the report of a pytest-xdist worker to the controller."""

    def __init__(self, config: pytest.Config, settings: AuditSettings) -> None:
        super().__init__(settings)
        self._output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]  # xdist's

    def pytest_sessionfinish(self) -> None:
        self._output[_WORKER_OUTPUT] = self.audit.report().model_dump_json()


class _Audit(_Weighing):
    """Makes and judges the report, in the process that the user started."""

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
                f"incomplete: {missing} of {self._workers} workers ended without a report; the "
                "messages of their tests are missing",
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
        """Write the files that the options ask for, with a line for each."""
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
