"""The `claimcheck` command. Each command loads what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claimcheck.cli.claims_app import claims_app
from claimcheck.errors import BodyInvalid
from claimcheck.rights import Role
from letsgo_queue.cli.enqueue_command import make_enqueue
from letsgo_queue.cli.terminal import (
    JsonOption,
    QueueOption,
    make_command,
    make_group,
    read_input,
    run,
)

if TYPE_CHECKING:
    from letsgo_queue.sending.client import Client

app = make_command("Messages of any size on Amazon SQS.")
StoresOption = Annotated[
    list[str] | None,
    typer.Option("--store", help="Store URL; repeatable. By default the environment names it."),
]

store_app = make_group("The store that claims are kept in: make it, check it.")
app.add_typer(store_app, name="store")
app.add_typer(claims_app, name="claims")


def main() -> None:
    """Run the command."""
    run(app)


def _sealing_client(queue: str | None) -> Client:
    from claimcheck.middleware import ClaimCheckMiddleware
    from letsgo_queue.sending.client import Client

    return Client(queue, middleware=[ClaimCheckMiddleware()])


app.command("enqueue", help="Put a message of any size on the queue, and print its id.")(
    make_enqueue(_sealing_client)
)


@app.command()
def demo(
    files: Annotated[list[Path] | None, typer.Argument(help="JSON files to send as well.")] = None,
    aws: Annotated[
        bool,
        typer.Option("--aws", help="Use the queue and the store that the environment names."),
    ] = False,
) -> None:
    """Send real messages of every size to a worker, and check the results.

    By default queue and claims are in a SQLite file in a temporary folder. With --aws, use a queue
    that nobody else works on. Exit code 0 only if every check held.
    """
    from claimcheck.cli.demo import show_demo

    _end(fine=show_demo(files or [], aws=aws))


@app.command()
def show(
    queue: Annotated[
        str | None,
        typer.Option("--queue", help="URL of its queue; by default the environment names it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain a message body from standard input: its route, its sizes, and its claim.

    It shows no payload and acquires no claim. Exit code 1 if the message cannot be read.
    """
    from claimcheck.cli.show import print_report, report_on

    report = report_on(_read_body(), queue)
    print_report(report, as_json=as_json)
    _end(fine=report.fine)


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

    Exit code 1 if a message type is over its budget or has grown by more than it may, or if a file
    could not be weighed.
    """
    from claimcheck.audit.report import AuditReport
    from claimcheck.cli.audit import show_comparison, show_report, weigh_folder

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
    _end(fine=fine)


@app.command()
def iam(
    *,
    role: Annotated[Role, typer.Option("--as", help="The role whose policy to print.")],
    store: StoresOption = None,
    queue: QueueOption = None,
    dead_letter_queue: Annotated[
        str | None,
        typer.Option(help="URL of its dead-letter queue, if that has a name of its own."),
    ] = None,
    kms_key: Annotated[
        list[str] | None,
        typer.Option(
            help="ARN of the key that encrypts; repeatable, the others decrypt. By default "
            "CLAIMCHECK_ENCRYPTION names it."
        ),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option("--lambda", metavar="NAME", help="A function that an operator examines."),
    ] = None,
) -> None:
    """Print the IAM policy with the rights that a role needs, and no more, as JSON.

    AWS is not asked. The statements of an operator that begin with Make are for `claimcheck store
    create` and `letsgo-queue queue create`.
    """
    from claimcheck.cli.iam import print_policy

    print_policy(
        role,
        stores=store or [],
        queue=queue,
        dead_letter_queue=dead_letter_queue,
        kms_keys=kms_key or [],
        function=function,
    )


@app.command()
def guide() -> None:
    """Print a compact guide to both packages, for people and coding agents, as Markdown."""
    from claimcheck.cli.guide import print_guide

    print_guide()


@app.command()
def doctor(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:NAME", help="The worker whose retries and time limits to check."
        ),
    ] = None,
    *,
    queue: QueueOption = None,
    store: Annotated[
        str | None, typer.Option(help="Store URL; by default the environment names it.")
    ] = None,
    function: Annotated[
        str | None,
        typer.Option("--lambda", metavar="NAME", help="The Lambda function behind the queue."),
    ] = None,
    role: Annotated[
        list[Role] | None,
        typer.Option(
            "--as", help="Check that these credentials have the rights of a role; repeatable."
        ),
    ] = None,
    largest: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            min=1,
            help="Size of the largest message; the function's memory must hold a batch of these.",
        ),
    ] = None,
    round_trip: Annotated[
        bool,
        typer.Option(
            "--round-trip",
            help="Seal, open and complete three messages in the store. None is sent to the queue.",
        ),
    ] = False,
    temporary_queue: Annotated[
        bool,
        typer.Option(
            "--temporary-queue",
            help="Send the three messages through a queue like yours, which is made and deleted.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check queue, store, Lambda function and rights, and say how to mend what is wrong.

    It changes nothing and receives no message, unless you ask for a round trip. Exit code 1 if a
    check failed; a warning is not a failure.
    """
    from claimcheck.cli.doctor import print_findings
    from claimcheck.doctor import examine
    from letsgo_queue.cli.load import load_worker

    findings = examine(
        queue=queue,
        store=store,
        worker=None if target is None else load_worker(target),
        function=function,
        roles=role or [],
        largest=largest,
        round_trip=round_trip,
        temporary_queue=temporary_queue,
    )
    _end(fine=print_findings(findings, as_json=as_json))


@store_app.command("create")
def store_create(
    *,
    store: StoresOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Make every change without asking.")] = False,
) -> None:
    """Make the tables and buckets of a store, as claims need them.

    You can repeat it safely. It changes an existing table or bucket only if you agree to each
    change; without a terminal to ask on, it says which changes are needed.
    """
    from claimcheck.cli.store import create_store

    _end(fine=create_store(store or [], yes=yes))


@store_app.command("check")
def store_check(*, store: StoresOption = None) -> None:
    """Compare tables and buckets with what claims need, and change nothing.

    Exit code 1 if something is wrong.
    """
    from claimcheck.cli.store import check_store

    _end(fine=check_store(store or []))


def _read_body() -> str:
    try:
        body = read_input().decode()
    except OSError as error:
        raise BodyInvalid(f"no message body: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise BodyInvalid("standard input is not UTF-8 text, so it is no message body.") from None
    body = body.removesuffix("\n")  # `echo` and `jq -r` add it
    if not body:
        raise BodyInvalid("standard input is empty: pipe a message body into this command.")
    return body


def _end(*, fine: bool) -> None:
    raise typer.Exit(0 if fine else 1)


if __name__ == "__main__":
    main()
