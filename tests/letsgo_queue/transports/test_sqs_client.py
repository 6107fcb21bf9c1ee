"""One boto3 client for all queues of a region and a server."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import closing

import boto3
import pytest

from letsgo_queue import Client
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.transports.sqs_client import make_client
from tests.letsgo_queue.support import order
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer

ACCOUNT = "https://sqs.us-west-2.amazonaws.com/123456789012"


@pytest.fixture
def server(ministack: AwsServer) -> Iterator[FaultyServer]:
    """A server that takes messages for every queue."""
    with FaultyServer(str(ministack.endpoint_url)) as server:
        server.answer("SendMessage", {"MessageId": "m", "MD5OfMessageBody": "0" * 32})
        yield server


def test_two_hundred_queues_need_one_connection(server: FaultyServer) -> None:
    client = Client()
    for number in range(200):
        client.enqueue(order(), queue=f"{server.url}/000000000000/q-{number}")
    assert server.operations == ["SendMessage"] * 200
    assert server.connections == 1

    client.close()


SENDS_TO_MANY = """
import resource, sys
from letsgo_queue import Client

def send(queues):
    for number in queues:
        client.enqueue({"type": "a", "payload": 1}, queue=f"{sys.argv[1]}/000000000000/q-{number}")

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

client = Client()
send(range(1))
before = megabytes()
send(range(200))
print(megabytes() - before)
"""


def test_two_hundred_queues_need_little_memory(server: FaultyServer) -> None:
    program = [sys.executable, "-c", SENDS_TO_MANY, server.url]

    grown = float(subprocess.check_output(program, timeout=60))

    assert grown < 20


def test_what_makes_requests_differ_makes_clients_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    session = boto3.session.Session(region_name="eu-west-1")
    clients = [
        make_client(f"{ACCOUNT}/a", None),
        make_client("https://sqs.eu-west-1.amazonaws.com/123456789012/a", None),
        make_client("http://localhost:4566/000000000000/a", None),
        make_client("http://localhost:4567/000000000000/a", None),
        make_client(f"{ACCOUNT.replace('.com', '.com:8443')}/a", None),
        make_client(f"{ACCOUNT}/a", None, session),
        make_client(f"{ACCOUNT}/a", None, boto3.session.Session()),
    ]
    assert make_client(f"{ACCOUNT}/b", None, session) is clients[5]
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    clients.append(make_client(f"{ACCOUNT}/a", None))

    assert len({id(client) for client in clients}) == len(clients)
    assert make_client(f"{ACCOUNT}/b", None) is clients[-1]


def test_a_client_goes_with_the_last_queue_that_has_it() -> None:
    first, second = SqsTransport(f"{ACCOUNT}/a"), SqsTransport(f"{ACCOUNT}/b")
    client = weakref.ref(first.client)
    assert second.client is client()

    del first
    gc.collect()
    assert client() is not None
    del second
    gc.collect()
    assert client() is None


def test_closing_a_queue_leaves_the_others_working(ministack: AwsServer) -> None:
    with FaultyServer(str(ministack.endpoint_url)) as server:
        urls = [
            f"{server.url}/000000000000/{ministack.make_queue().rpartition('/')[2]}" for _ in "ab"
        ]
        with closing(SqsTransport(urls[0])) as first:
            second = SqsTransport(urls[1])
            assert first.max_message_bytes()
        assert second.max_message_bytes()
        second.close()
