"""How the command begins and ends."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claimcheck import open_store
from letsgo_queue.cli.app import app
from letsgo_queue.errors import SettingsInvalid
from tests.support.quick_python import quick_python


def test_an_interrupt_ends_it_though_a_page_is_open(url: str) -> None:
    command = [*quick_python(), "-m", "letsgo_queue.cli.app", "console", "--queue", url]
    with subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        host, _, token = process.stdout.readline().strip().partition("/?token=")
        host = host.removeprefix("http://")
        connection = HTTPConnection(host, timeout=20)
        connection.request("GET", f"/?token={token}")
        signed_in = connection.getresponse()
        cookie = (signed_in.headers["set-cookie"] or "").partition(";")[0]
        signed_in.read()
        connection.request("GET", "/numbers", headers={"cookie": cookie})
        page = connection.getresponse()
        assert page.readline().startswith(b"data: ")

        process.send_signal(signal.SIGINT)

        assert process.wait(30) == 0
        assert process.stderr.read() == ""
        page.read()
        connection.close()


def test_an_option_names_the_store_whose_claims_it_shows(url: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/claims.db"
    open_store(store).close()
    command = [*quick_python(), "-m", "letsgo_queue.cli.app", "console", "--queue", url]
    with subprocess.Popen(
        [*command, "--store", store, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        host, _, token = process.stdout.readline().strip().partition("/?token=")
        with closing(HTTPConnection(host.removeprefix("http://"), timeout=20)) as connection:
            connection.request("GET", f"/?token={token}")
            signed_in = connection.getresponse()
            cookie = (signed_in.headers["set-cookie"] or "").partition(";")[0]
            signed_in.read()
            connection.request("GET", "/claims/0", headers={"cookie": cookie})
            shown = connection.getresponse().read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert str(tmp_path / "claims.db") in shown


def console_error(*options: str) -> str:
    result = CliRunner().invoke(app, ["console", *options])
    assert isinstance(result.exception, SettingsInvalid)
    return str(result.exception)


def test_a_port_in_use_is_told(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        error = console_error("--queue", url, "--port", str(port))

    assert error.startswith(f"the console cannot listen on 127.0.0.1:{port} (Address already in ")
    assert "\n" not in error


def test_a_missing_extra_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letsgo_queue.cli.console_command.NEEDED", ("uvicorn", "not_there"))

    error = console_error("--queue", url)

    assert error == "the console needs not_there: pip install 'letsgo-claimcheck[console]'"
