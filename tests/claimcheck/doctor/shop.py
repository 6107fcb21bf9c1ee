"""A queue, its store and its Lambda function, all set up right, for tests that break one thing."""

from __future__ import annotations

import io
import json
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import boto3
import pytest
from typer.testing import CliRunner

from claimcheck.cli.app import app
from letsgo_queue.admin import QueueOptions, create_queue
from letsgo_queue.cli.app import app as queue_app
from letsgo_queue.settings import QueueSettings
from tests.conftest import REGION
from tests.support.servers import AwsServer

Found: TypeAlias = Mapping[str, Any]

TIMEOUT = 10
"""Seconds that the function may run."""


class Clients:
    """Clients of boto3 for one server, each made once."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._session = cast("Any", boto3.Session("test", "test", region_name=REGION))
        self._made: dict[str, Any] = {}

    def of(self, service: str) -> Any:
        if service not in self._made:
            self._made[service] = self._session.client(service, endpoint_url=self._endpoint_url)
        return self._made[service]

    def close(self) -> None:
        for each in self._made.values():
            each.close()


@dataclass
class Shop:
    """A queue, a store and a function to examine, and the clients to break them with."""

    server: AwsServer
    clients: Clients
    monkeypatch: pytest.MonkeyPatch
    name: str
    url: str

    @property
    def dead_url(self) -> str:
        return f"{self.url}-dead-letters"

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name queue and store in the environment of a test, and set all that it may change."""
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("LETSGO_QUEUE_URL", self.url)
        monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{self.name}")
        lasting = {"MaximumMessageSize": "1048576", "MessageRetentionPeriod": "1209600"}
        self.set_dead(RedrivePolicy="", RedriveAllowPolicy="", **lasting)
        self.set_queue(
            RedrivePolicy=self.redrive_after(5), VisibilityTimeout=str(6 * TIMEOUT), **lasting
        )

    def call(self, service: str, operation: str, **fields: Any) -> Any:
        return getattr(self.clients.of(service), operation)(**fields)

    def set_queue(self, **attributes: str) -> None:
        self.call("sqs", "set_queue_attributes", QueueUrl=self.url, Attributes=attributes)

    def set_dead(self, **attributes: str) -> None:
        self.call("sqs", "set_queue_attributes", QueueUrl=self.dead_url, Attributes=attributes)

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.server.region}:000000000000:{self.name}"

    def redrive_after(self, count: int) -> str:
        policy = {"deadLetterTargetArn": f"{self.arn}-dead-letters", "maxReceiveCount": count}
        return json.dumps(policy)

    def set_function(self, **options: Any) -> None:
        self.call("lambda", "update_function_configuration", FunctionName=self.name, **options)

    def set_settings(self, **variables: str) -> None:
        """Set the function's environment."""
        store = {"CLAIMCHECK_STORE": f"dynamodb://{self.name}"}
        self.set_function(Environment={"Variables": store | variables})

    def give_rights(self, policy: str) -> None:
        """Give the function's role this policy, and no other."""
        self.call(
            "iam",
            "put_role_policy",
            RoleName=self.name,
            PolicyName="claimcheck-worker",
            PolicyDocument=policy,
        )

    @property
    def mapping(self) -> str:
        found = self.call("lambda", "list_event_source_mappings", EventSourceArn=self.arn)
        return str(found["EventSourceMappings"][0]["UUID"])

    def make_function(self, name: str) -> None:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("orders.py", "def handler(event, context): ...")
        self.call(
            "lambda",
            "create_function",
            FunctionName=name,
            Runtime="python3.12",
            Role=f"arn:aws:iam::000000000000:role/{self.name}",
            Handler="orders.handler",
            Code={"ZipFile": code.getvalue()},
            Timeout=TIMEOUT,
            MemorySize=512,
        )
        self.call(
            "lambda",
            "create_event_source_mapping",
            EventSourceArn=self.arn,
            FunctionName=name,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )

    def remove(self) -> None:
        found = self.call("lambda", "list_event_source_mappings", EventSourceArn=self.arn)
        for each in found["EventSourceMappings"]:
            self.call("lambda", "delete_event_source_mapping", UUID=each["UUID"])
        for queue in self.call("sqs", "list_queues", QueueNamePrefix=self.name)["QueueUrls"]:
            self.call("sqs", "delete_queue", QueueUrl=queue)

    def mend(self, command: str) -> None:
        """Run a command that the doctor gave, as a shell would."""
        for each in command.split(" && "):
            program, *words = shlex.split(re.sub(r"\$\((.+)\)", self._output_of, each))
            if program == "aws":
                self._run_aws(words)
            elif program == "claimcheck":
                assert claimcheck(*words).exit_code == 0
            elif program == "letsgo-queue":
                assert CliRunner().invoke(queue_app, words).exit_code == 0
            elif program == "export":
                self.monkeypatch.setenv(*words[0].split("=", 1))
            else:
                assert program == "unset"
                self.monkeypatch.delenv(words[0])

    def _output_of(self, command: re.Match[str]) -> str:
        program, *words = shlex.split(command[1])
        assert program == "claimcheck"
        return str(claimcheck(*words).stdout).replace('"', r"\"")

    def _run_aws(self, words: Sequence[str]) -> None:
        service, operation, *options = words
        fields: dict[str, Any] = {}
        while options:
            option = options.pop(0)
            assert option.startswith("--")
            name = "".join(word.capitalize() for word in option[2:].split("-"))
            value: Any = True
            if options and not options[0].startswith("--"):
                value = options.pop(0)
            fields[_NAMES.get(name, name)] = _KINDS.get(name, lambda each: each)(value)
        assert fields.pop("Region", self.server.region) == self.server.region
        self.call(service, operation.replace("-", "_"), **fields)


_NAMES = {"Uuid": "UUID"}
_KINDS: Mapping[str, Any] = {
    "Attributes": json.loads,
    "FunctionResponseTypes": lambda value: [value],
    "MemorySize": int,
}


def claimcheck(*words: str) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(app, words, catch_exceptions=False)


def examine(*words: str) -> Mapping[str, Found]:
    """What `claimcheck doctor` finds that is not right, by name; checks its exit code."""
    result = claimcheck("doctor", *words, "--json")
    found: Sequence[Found] = json.loads(result.stdout)["findings"]
    wrong = {each["name"]: each for each in found if each["level"] != "pass"}
    failed = any(each["level"] == "fail" for each in wrong.values())
    assert result.exit_code == (1 if failed else 0)
    return wrong


def make_shop(server: AwsServer, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A queue, a table and a function with the rights of a worker."""
    name = server.make_table_name()
    url = create_queue(name, QueueSettings(), QueueOptions())
    shop = Shop(server, clients, monkeypatch, name, url)
    shop.use(monkeypatch)
    assert claimcheck("store", "create").exit_code == 0
    shop.call("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))
    shop.give_rights(claimcheck("iam", "--as", "worker").stdout)
    shop.make_function(name)
    return shop


_TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}]}
