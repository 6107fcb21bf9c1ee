"""docs/infrastructure/cloudformation, applied to MiniStack and examined by our own commands."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

import claimcheck
from claimcheck import unwrap_claim_check
from claimcheck.doctor import Level, examine
from claimcheck.policies import policy_statements
from claimcheck.rights import Role
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.s3_bucket import ClaimBucket
from letsgo_queue import Message, Worker, set_default_client
from letsgo_queue.console.extension import ConsoleOptions
from tests.claimcheck.cli.test_iam_calls import Wire, compare
from tests.claimcheck.support import noise
from tests.conftest import use_emulator
from tests.docs.infrastructure.support import (
    INFRASTRUCTURE,
    Policy,
    Stacks,
    free_port,
    in_process,
    normal,
    option,
    read_template,
    stacks_on,
    without,
    without_making,
)
from tests.docs.support import write_blocks
from tests.docs.templates import problems_of
from tests.letsgo_queue.console.support import signed_in
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

FOLDER = INFRASTRUCTURE / "cloudformation"
TEMPLATES = sorted(FOLDER.glob("*.yaml"))
NETWORK = {"Image": "shop", "Subnets": "subnet-1", "SecurityGroups": "sg-1"}

WITH_A_KEY = pytest.mark.parametrize("applied", ["yes"], indirect=True, ids=["with a key"])
"""Where the key only adds to the rest."""


class Applied:
    """The stack of messages.yaml, without and with a key."""

    def __init__(self, stacks: Stacks, *, encrypt: str) -> None:
        template = read_template("messages")
        name = f"orders-{uuid.uuid4().hex[:8]}"
        self.stacks = stacks
        self.outputs = stacks.apply(template, Name=name, Encrypt=encrypt)
        self.things = stacks.things_of(self.outputs["Stack"])
        stacks.complete(template, self.outputs["Stack"])

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set what the outputs say, as a sender or worker does."""
        monkeypatch.setenv("LETSGO_QUEUE_URL", self.outputs["QueueUrl"])
        monkeypatch.setenv("CLAIMCHECK_STORE", self.outputs["ClaimStore"])
        if encryption := self.outputs.get("Encryption"):
            monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", encryption)
        set_default_client(None)

    def made_policies(self) -> dict[str, Policy]:
        return {
            role: self.stacks.policy(self.outputs[f"{role.title()}PolicyArn"])
            for role in ("sender", "worker", "operator", "console")
        }


@pytest.fixture(scope="module")
def stacks(ministack_url: str) -> Iterator[Stacks]:
    with pytest.MonkeyPatch.context() as patch:
        server = use_emulator(patch, "ministack", ministack_url)
        with stacks_on(server) as stacks:
            yield stacks
        server.remove_all()


@pytest.fixture(scope="module", params=["no", "yes"], ids=["without a key", "with a key"])
def applied(stacks: Stacks, request: pytest.FixtureRequest) -> Applied:
    return Applied(stacks, encrypt=request.param)


@pytest.fixture
def settings(
    applied: Applied, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Applied]:
    applied.use(monkeypatch)
    yield applied
    set_default_client(None)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_the_templates_are_valid(path: Path) -> None:
    assert problems_of(path) == []


def test_the_doctor_finds_nothing_wrong(settings: Applied) -> None:
    findings = examine(roles=[Role.SENDER, Role.WORKER], round_trip=True)

    assert [each for each in findings if each.level is not Level.PASS] == []
    assert {"queue.redrive", "dead-letters.retention", "store.lifecycle"} < {
        f.name for f in findings
    }
    table, bucket = ClaimTable(settings.things["Table"]), ClaimBucket(settings.things["Bucket"])
    assert [each.detail for each in [*table.check(), *bucket.check()] if not each.ok] == []


def test_two_megabytes_pass_through(settings: Applied, ministack: AwsServer) -> None:
    payload, got = noise(2_000_000), []
    assert claimcheck.enqueue({"type": "order:new", "payload": payload}).route == "stored"
    bucket = settings.things["Bucket"]
    assert len(ministack.objects_in(bucket)) == 1
    worker = Worker()

    @worker.handler("order:new")
    @unwrap_claim_check
    def on_order(message: Message[str]) -> None:
        got.append(message.payload)

    worker.run(burst=True)

    assert got == [payload]
    assert ministack.objects_in(bucket) == {}


def test_the_policies_are_those_that_are_printed(settings: Applied) -> None:
    made = settings.made_policies()

    for role in Role:
        assert made[role] == without_making(normal(policy_statements(role))), role


@WITH_A_KEY
def test_the_console_may_look_and_nothing_else(
    settings: Applied, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its policy is what a console really asks for, and a part of the operator's."""
    made = settings.made_policies()
    claimcheck.enqueue({"type": "order:new", "payload": noise(2_000_000)})
    wire = Wire(monkeypatch, ministack.region)
    options = ConsoleOptions(
        queues=[settings.outputs["QueueUrl"]],
        store=settings.outputs["ClaimStore"],
        read_only=True,
    )
    with signed_in(options) as console:
        for path in ("/", "/queues/0/messages", "/queues/0/dead-letters"):
            assert console.get(path).status_code == 200
        wait_for(lambda: "checks passed" in console.get("/parts").text, "the doctor")
        listed = console.post("/claims/0/look").text
        (claim,) = set(re.findall(r"/claims/0/claim/([\w-]+)", listed))
        assert "order:new" in console.get(f"/claims/0/claim/{claim}").text

    compare(list(made["console"].values()), wire.take())
    for name, statement in made["console"].items():
        assert {**made["operator"][name], "Action": statement["Action"]} == statement
        assert set(statement["Action"]) <= set(made["operator"][name]["Action"])


def test_a_function_has_all_that_the_doctor_asks_for(
    stacks: Stacks, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = Applied(stacks, encrypt="no")
    messages.use(monkeypatch)
    function = stacks.apply(
        read_template("lambda"), Messages=messages.outputs["Stack"], **stacks.put_code()
    )

    findings = examine(function=function["FunctionName"])

    assert [each for each in findings if each.level is not Level.PASS] == []
    assert {"lambda.failures", "lambda.visibility", "rights.worker"} < {f.name for f in findings}
    whole = normal(policy_statements(Role.OPERATOR, function=function["FunctionName"]))
    part = stacks.policy(function["OperatorPolicyArn"])
    assert part == {name: whole[name] for name in ("Function", "EventSourceMappings", "Policies")}


@WITH_A_KEY
def test_an_ecs_task_handles_messages(
    settings: Applied, ministack: AwsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its command runs here, with the settings that the service gives it."""
    template = copy.deepcopy(read_template("ecs"))
    without(["ScalableTarget", "Scaling"])(template)  # which MiniStack does not know
    given = {"Encryption": key} if (key := settings.outputs.get("Encryption")) else {}
    stack = settings.stacks.apply(template, Messages=settings.outputs["Stack"], **NETWORK, **given)
    task = settings.stacks.things_of(stack["Stack"])["Task"]
    ecs = settings.stacks.client("ecs")
    (container,) = ecs.describe_task_definition(taskDefinition=task)["taskDefinition"][
        "containerDefinitions"
    ]
    write_blocks("README.md", tmp_path)
    claimcheck.enqueue(
        {"type": "order:new", "payload": {"order_id": noise(2_000_000), "lines": []}}
    )

    command = [*container["entryPoint"], *container["command"], "--burst", "--wait-seconds", "0"]
    done = subprocess.run(
        [*in_process(command), "--health-port", str(free_port())],
        env={**os.environ, **{each["name"]: each["value"] for each in container["environment"]}},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.endswith(" has 0 lines\n"), done.stderr
    assert option(container["command"], "--drain-timeout") < container["stopTimeout"] <= 120


def test_the_longest_name_makes_a_bucket_in_every_region() -> None:
    template = read_template("messages")
    pattern = template["Parameters"]["Name"]["AllowedPattern"]
    longest = max(count for count in range(63) if re.fullmatch(pattern, "a" * count))
    name = template["Resources"]["Bucket"]["Properties"]["BucketName"]["Fn::Sub"]
    session = boto3.Session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("s3", partition):
            filled = name.replace("${AWS::AccountId}", "0" * 12)
            filled = filled.replace("${Name}", "a" * longest).replace("${AWS::Region}", region)
            assert len(filled) <= 63, filled
