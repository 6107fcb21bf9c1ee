"""Fixtures of the tests that count what a message costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.benchmarks.emulator import Emulator, Proxy, make_emulator
from tests.benchmarks.payloads import PAYLOADS, PayloadFile, PayloadName, write_payload
from tests.support.servers import AwsServer


@pytest.fixture(scope="session")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> Mapping[PayloadName, PayloadFile]:
    folder = tmp_path_factory.mktemp("payloads")
    return {name: write_payload(name, folder) for name in PAYLOADS if name != "20 MB"}


@pytest.fixture(scope="session")
def proxy(ministack_url: str) -> Iterator[Proxy]:
    with Proxy(ministack_url, "unshaped") as proxy:
        yield proxy


@pytest.fixture
def emulator(
    ministack: AwsServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    made = make_emulator(ministack, proxy)
    # Requests to AWS go through the proxy, which has a port for each service.
    for name, value in made.environment("AWS-like").items():
        monkeypatch.setenv(name, value)
    yield made
    made.empty_bucket()
