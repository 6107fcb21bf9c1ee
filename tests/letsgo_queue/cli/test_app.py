"""`letsgo-queue enqueue` and `letsgo-queue worker`."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import IO

import pytest

from tests.letsgo_queue.support import SECRET
from tests.support.command import Command, run
from tests.support.quick_python import quick_python

COMMANDS: tuple[Command, ...] = ("letsgo-queue", "claimcheck")

WORKER = """
from letsgo_queue import Worker

jobs = Worker()
other = 1

@jobs.handler("greet")
def greet(message: dict) -> None:
    print("hello", message["payload"])
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a worker and a payload in it, and a queue of its own."""
    (tmp_path / "work.py").write_text(WORKER)
    (tmp_path / "payload.json").write_text('"from a file"')
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path / 'work.db'}")
    return tmp_path


@pytest.mark.parametrize(
    ("payload", "stdin", "greeted"),
    [
        ('"as text"', None, "as text"),
        ("@payload.json", None, "from a file"),
        ("-", '"from a pipe"', "from a pipe"),
    ],
)
def test_what_is_enqueued_is_handled(
    project: Path, payload: str, stdin: str | None, greeted: str
) -> None:
    sent = run(
        "letsgo-queue", "enqueue", "--type", "greet", "--payload", payload, cwd=project, stdin=stdin
    )
    worked = run("letsgo-queue", "worker", "work:jobs", "--burst", cwd=project)

    assert sent.returncode == 0, sent.stderr
    assert len(sent.stdout.strip()) == len("00000000-0000-0000-0000-000000000000")
    assert worked.returncode == 0, worked.stderr
    assert f"hello {greeted}" in worked.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("enqueue", "--type", "greet", "--payload", "{no json"), "not JSON"),
        (("enqueue", "--type", "greet", "--payload", "@missing.json"), "missing.json"),
        (("enqueue", "--type", "letsgo:mine"), "reserved"),
        (("enqueue", "--type", "greet", "--delay", "-1"), "delay_seconds"),
        (("enqueue", "--type", "greet", "--queue", "ftp://x"), "ftp://x"),
        (("worker", "nowhere:worker"), "nowhere"),
        (("enqueue", "--type", "greet", "--payload", "[" * 10_000), "not JSON"),
        (("enqueue", "--type", "greet", "--payload", "@."), "Is a directory"),
        (("worker", ""), "give a module"),
        (("worker", ".work"), "give a module"),
        (("worker", "work.missing:worker"), "no module 'work.missing'"),
        (("worker", "work"), "has no 'worker'"),
        (
            ("worker", "work:other"),
            "'other' of that module is no letsgo_queue.Worker. Its workers: jobs.",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(project: Path, arguments: tuple[str, ...], said: str) -> None:
    tried = run("letsgo-queue", *arguments, cwd=project)

    assert (tried.returncode, tried.stdout) == (1, "")
    assert said in tried.stderr
    assert tried.stderr.startswith("error: ")
    assert tried.stderr.count("\n") == 1


def enqueue_from(stdin: IO[str] | int) -> subprocess.CompletedProcess[bytes]:
    """Enqueue a message without a payload, with an open file as standard input."""
    command = (*quick_python(), "-m", "letsgo_queue.cli.app", "enqueue", "--type", "greet")
    return subprocess.run(command, stdin=stdin, capture_output=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_payload_that_nothing_reads_is_refused(project: Path, command: Command) -> None:
    tried = run(command, "enqueue", "--type", "greet", cwd=project, stdin='"from a pipe"')

    assert (tried.returncode, tried.stdout) == (1, "")
    assert "--payload - reads the payload from it" in tried.stderr
    assert tried.stderr.count("\n") == 1


def test_a_file_that_nothing_reads_is_refused(project: Path) -> None:
    with (project / "payload.json").open() as file:
        tried = enqueue_from(file)

    assert b"--payload - reads the payload from it" in tried.stderr


def test_a_pipe_that_stays_open_is_told_of_and_not_waited_for(project: Path) -> None:
    """A supervisor, `docker run -i` and `ssh` give a command such a pipe."""
    reading, writing = os.pipe()
    try:
        sent = enqueue_from(reading)
    finally:
        os.close(writing)
        os.close(reading)
    worked = run("letsgo-queue", "worker", "work:jobs", "--burst", cwd=project)

    assert sent.returncode == 0, sent.stderr
    assert b"warning: the payload is null" in sent.stderr
    assert b"--payload - waits for it" in sent.stderr
    assert sent.stderr.count(b"\n") == 1
    assert worked.stdout == "hello None\n"


@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
def test_what_others_would_read_is_left_in_the_input(project: Path, kind: str) -> None:
    """In a shell, the next round of a loop reads on where this command got the input."""
    rest = b"second\nthird\n"
    if kind == "file":
        (project / "input").write_bytes(rest)
        reading = os.open(project / "input", os.O_RDONLY)
    elif kind == "pipe":
        reading, writing = os.pipe()
        os.write(writing, rest)
        os.close(writing)
    else:
        ours, theirs = socket.socketpair()
        ours.sendall(rest)
        ours.close()
        reading = theirs.detach()
    try:
        tried = enqueue_from(reading)
        left = os.read(reading, 100)
        sent = enqueue_from(reading)
    finally:
        os.close(reading)

    assert tried.returncode == 1
    assert b"< /dev/null after this command" in tried.stderr
    assert left == rest
    assert (sent.returncode, sent.stderr) == (0, b"")


@pytest.mark.parametrize("stdin", ["", None], ids=["a pipe that ended", "no pipe"])
def test_without_input_the_payload_is_null(project: Path, stdin: str | None) -> None:
    sent = run("letsgo-queue", "enqueue", "--type", "greet", cwd=project, stdin=stdin)
    worked = run("letsgo-queue", "worker", "work:jobs", "--burst", cwd=project)

    assert sent.returncode == 0, sent.stderr
    assert worked.stdout == "hello None\n"


def test_an_explicit_payload_leaves_the_input_alone(project: Path) -> None:
    sent = run(
        *("letsgo-queue", "enqueue", "--type", "greet", "--payload", "null"),
        cwd=project,
        stdin="the next line of a loop",
    )

    assert sent.returncode == 0, sent.stderr


def test_a_module_that_lacks_another_says_where(project: Path) -> None:
    (project / "work.py").write_text("import missing_dependency\n")

    tried = run("letsgo-queue", "worker", "work", cwd=project)

    assert tried.returncode == 1
    assert 'work.py", line 1' in tried.stderr
    assert "missing_dependency" in tried.stderr


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("@worker.handler('greet')\ndef greet(): ...", 6, "handler shop.greet takes ()"),
        (
            "@worker.handler('greet')\n@unwrap_claim_check\ndef greet(): ...",
            6,
            "handler shop.greet takes ()",
        ),
        ("@worker.scheduled('every day')\ndef greet(event): ...", 6, "write rate(5 minutes)"),
        ("other = Worker(concurrency=0)", 6, "concurrency=0"),
        ("enqueue({'type': 'greet'}, delay_seconds=-1)", 6, "delay_seconds"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_that_the_library_finds_in_a_module_is_one_line(
    project: Path, command: Command, code: str, line: int, said: str
) -> None:
    (project / "work.py").write_text("from shop import *\n")
    (project / "shop.py").write_text(
        "from claimcheck import unwrap_claim_check\n"
        "from letsgo_queue import Worker, enqueue\n"
        "\n"
        "worker = Worker()\n"
        "\n"
        f"{code}\n"
    )
    arguments = ["worker"] if command == "letsgo-queue" else ["doctor"]

    tried = run(command, *arguments, "work", cwd=project)

    assert (tried.returncode, tried.stdout) == (1, "")
    assert tried.stderr.startswith(f"error: 'work', shop.py:{line}: ")
    assert said in tried.stderr
    assert tried.stderr.count("\n") == 1


def test_a_traceback_shows_no_local_variables(project: Path) -> None:
    (project / "work.py").write_text(f"payload = '{SECRET[:6]}' + '{SECRET[6:]}'\n1 / 0\n")

    tried = run("letsgo-queue", "worker", "work", cwd=project)

    assert "ZeroDivisionError" in tried.stderr
    assert SECRET not in tried.stderr


@pytest.mark.parametrize(
    "setting",
    [
        {"CLAIMCHECK_STORE": "nonsense://x"},
        {"CLAIMCHECK_THRESHOLD": "much"},
        {"CLAIMCHECK_SIGNING_KEY": "short"},
        {"LETSGO_QUEUE_URL": "nonsense://x"},
        {"LETSGO_QUEUE_URL": "sqlite:///work.db?visibilty_timeout=5"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_wrong_setting_of_a_worker_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]
) -> None:
    (project / "work.py").write_text(
        "from claimcheck import unwrap_claim_check\n"
        "from letsgo_queue import Worker\n"
        "worker = Worker()\n"
        "@worker.handler('greet')\n"
        "@unwrap_claim_check\n"
        "def greet(message: dict) -> None: ...\n"
    )
    for name, value in setting.items():
        monkeypatch.setenv(name, value)

    tried = run("letsgo-queue", "worker", "work", "--burst", cwd=project)

    assert (tried.returncode, tried.stdout) == (1, "")
    assert tried.stderr.startswith("error: ")
    assert tried.stderr.count("\n") == 1
