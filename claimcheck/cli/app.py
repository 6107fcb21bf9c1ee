"""The `claimcheck` command."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Table
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"the command line needs {missing.name}: pip install 'letsgo-claimcheck[cli]'"
    ) from None

from claimcheck.errors import BodyInvalid, ClaimCheckError, SettingsInvalid
from claimcheck.settings import DEFAULT_STORE, ClaimCheckSettings
from claimcheck.stores import open_store
from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.settings import QueueSettings, region_in

if TYPE_CHECKING:
    from claimcheck.stores.dynamodb_table import ClaimTable

app = typer.Typer(help="Messages of any size on Amazon SQS.", no_args_is_help=True)
table_app = typer.Typer(help="The DynamoDB table that claims are kept in.", no_args_is_help=True)
app.add_typer(table_app, name="table")

console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Run the command; an error of ours is a line on stderr and exit code 1."""
    try:
        app()
    except (ClaimCheckError, LetsGoQueueError) as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def demo(
    files: Annotated[list[Path] | None, typer.Argument(help="JSON files to send as well.")] = None,
    aws: Annotated[
        bool,
        typer.Option("--aws", help="Use the queue and table that the environment names."),
    ] = False,
) -> None:
    """Send real messages of every size to a worker, and check what became of them.

    By default the queue and the claims are in a SQLite file in a temporary folder. With --aws use a
    queue that nobody else works on. Exit code 0 only if every check held.
    """
    from claimcheck.demo.messages import demo_messages
    from claimcheck.demo.run import DemoFailed, RoundTrip, local_settings, run_demo

    table = Table("message type", box=None, pad_edge=False, header_style="bold")
    for column in ("size", "route", "on the queue", "stored", "round trip"):
        table.add_column(column, justify="left" if column == "route" else "right")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with tempfile.TemporaryDirectory() as name, Progress(*columns, console=console) as bar:
        task = bar.add_task("reading payloads", total=None)
        messages = demo_messages(files or [])
        bar.update(task, total=len(messages), description="starting the worker")

        def show(trip: RoundTrip) -> None:
            result = trip.result
            table.add_row(
                escape(trip.type),
                f"{result.size:,}",
                result.route,
                f"{result.sent_size:,}",
                f"{result.stored_size:,}",
                f"{trip.seconds * 1000:.0f} ms",
            )
            bar.update(task, advance=1, description=escape(trip.type))

        settings = None if aws else local_settings(Path(name))
        try:
            checks = run_demo(messages, Path(name), settings, show)
        except DemoFailed as failure:
            errors.print(f"[red]error:[/] {failure}", highlight=False)
            raise typer.Exit(1) from None
        bar.update(task, description="done")
    console.print()
    console.print(table)
    console.print("\nsizes in bytes\n", style="dim")
    for check in checks:
        console.print("[green]✓[/]" if check.held else "[red]✗[/]", check.promise, highlight=False)
    raise typer.Exit(0 if all(check.held for check in checks) else 1)


@app.command()
def show(
    queue: Annotated[
        str | None,
        typer.Option("--queue", help="Queue it came from; by default that of the environment."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Explain a message body from standard input: its route, its sizes, and where its claim is.

    The claim is not taken, and no payload is shown. Exit code 1 where the message cannot be opened.
    """
    from claimcheck.cli.show_command import print_report, report_on

    report = report_on(_read_body(), queue)
    print_report(report, as_json=as_json)
    raise typer.Exit(0 if report.usable else 1)


@app.command()
def audit(
    reports: Annotated[
        list[Path] | None,
        typer.Argument(help="A saved report, to print it; or two, to compare them."),
    ] = None,
    from_files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Weigh the JSON payloads in a folder instead."),
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page.")] = None,
) -> None:
    """Print, render or compare reports of the size audit, or weigh a folder of JSON payloads.

    Exit code 1 where a budget is exceeded, a message type has grown by more than it may, or a file
    could not be weighed.
    """
    from claimcheck.audit.command import show_comparison, show_report, weigh_folder
    from claimcheck.audit.report import AuditReport

    match reports or [], from_files:
        case [], Path() as folder:
            report, left_out = weigh_folder(folder)
            fine = show_report(report, json=json, html=html) and not left_out
        case [path], None:
            fine = show_report(AuditReport.load(path), json=json, html=html)
        case [before, after], None if json is None and html is None:
            fine = show_comparison(AuditReport.load(before), AuditReport.load(after))
        case _:
            raise typer.BadParameter(
                "give one saved report, two without --json and --html, or --from-files DIR"
            )
    raise typer.Exit(0 if fine else 1)


@table_app.command("create")
def table_create() -> None:
    """Make the table that the settings name, with on-demand billing and TTL; safe to repeat."""
    table = _table()
    with console.status(f"making table {table.name} in {table.region}"):
        made = table.create()
    state = "made" if made else "was there already"
    console.print(f"table {table.name} in {table.region}: {state}", highlight=False)
    _show_findings(table)


@table_app.command("check")
def table_check() -> None:
    """Compare the table with what claims need; exit code 1 where something is wrong."""
    _show_findings(_table())


def _read_body() -> str:
    try:
        body = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise BodyInvalid("standard input is not UTF-8 text, so no message body.") from None
    # The one that `echo` and `jq -r` put behind it.
    body = body.removesuffix("\n")
    if not body:
        raise BodyInvalid("standard input is empty: pipe a message body into this command.")
    return body


def _table() -> ClaimTable:
    """The table that the settings name."""
    from claimcheck.stores.dynamodb import DynamoDBClaimStore
    from claimcheck.stores.dynamodb_table import ClaimTable

    url = ClaimCheckSettings.from_environment().store or DEFAULT_STORE
    queue = QueueSettings.from_environment()
    store = open_store(url, region=region_in(queue.queue_url or "") or queue.region)
    if not isinstance(store, DynamoDBClaimStore):
        raise SettingsInvalid(f"CLAIMCHECK_STORE={url!r} is not a DynamoDB table.")
    return ClaimTable(store.table, region=store.region, endpoint_url=store.endpoint_url)


def _show_findings(table: ClaimTable) -> None:
    findings = table.check()
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        console.print(mark, f"{finding.subject}: {finding.detail}", highlight=False)
        if finding.remedy:
            console.print(f"  {finding.remedy}", highlight=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
