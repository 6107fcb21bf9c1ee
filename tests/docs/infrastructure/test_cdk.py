"""docs/infrastructure/cdk: CDK itself makes templates of it, which are those of cloudformation/.

CDK needs half a gigabyte and Node, so only `make infrastructure` runs these tests.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claimcheck.doctor import Level, examine
from claimcheck.policies import policy_statements
from claimcheck.rights import Role
from letsgo_queue import set_default_client
from tests.docs.infrastructure.support import (
    Policy,
    Stacks,
    Template,
    normal,
    read_template,
    stacks_on,
    tool,
    without_making,
)
from tests.docs.support import ROOT
from tests.docs.templates import problems_of
from tests.support.servers import AwsServer

STACKS = ("Messages", "Ecs", "Lambda")
SAYS_TWICE = "W3005"
"""CDK names a dependency also where a reference says the same."""


@dataclass(frozen=True)
class Synthesized:
    """What CDK made of the app.

    Attributes:
        folder: Where its templates are.
        name: The queue's name in it.
    """

    folder: Path
    name: str

    def path(self, stack: str) -> Path:
        return self.folder / f"{stack}.template.json"

    def template(self, stack: str) -> Template:
        """A template without CDK's check of the account that it is applied to."""
        found: Template = json.loads(self.path(stack).read_text())
        del found["Parameters"], found["Rules"]
        return found

    def properties(self, stack: str, kind: str) -> dict[str, Any]:
        """What the only resource of a type is like."""
        (found,) = (
            each["Properties"]
            for each in self.template(stack)["Resources"].values()
            if each["Type"] == kind
        )
        return dict(found)


@pytest.fixture(scope="module", params=[False, True], ids=["without a key", "with a key"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    python = tool("python")
    if python is None:
        pytest.skip("`make infrastructure` installs CDK")
    if shutil.which("node") is None:
        pytest.skip("CDK needs Node")
    folder, name = tmp_path_factory.mktemp("cdk"), f"orders-{uuid.uuid4().hex[:8]}"
    for each in ("docs/infrastructure/cdk", "docs/examples/lambda_sam"):
        shutil.copytree(ROOT / each, folder / each)
    program = folder / "docs/infrastructure/cdk/app.py"
    text = program.read_text()
    assert 'name="orders"' in text
    assert "encrypt=False" in text
    text = text.replace('name="orders"', f'name="{name}"')
    program.write_text(text.replace("encrypt=False", f"encrypt={request.param}"))
    done = subprocess.run(
        [python, program],
        env={**os.environ, "CDK_OUTDIR": str(folder / "out")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Synthesized(folder / "out", name)


@pytest.fixture
def stacks(ministack: AwsServer) -> Iterator[Stacks]:
    with stacks_on(ministack) as stacks:
        yield stacks
    set_default_client(None)


@pytest.mark.parametrize("stack", STACKS)
def test_the_templates_are_valid(app: Synthesized, stack: str) -> None:
    assert problems_of(app.path(stack), ignored=[SAYS_TWICE]) == []


def test_the_stack_is_right_and_has_the_policies_that_are_printed(
    app: Synthesized, stacks: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = app.template("Messages")
    outputs = stacks.apply(template)
    stacks.complete(template, outputs["Stack"])
    monkeypatch.setenv("LETSGO_QUEUE_URL", outputs["QueueUrl"])
    monkeypatch.setenv("CLAIMCHECK_STORE", outputs["ClaimStore"])
    (key,) = {
        id
        for name, id in stacks.things_of(outputs["Stack"]).items()
        if name.startswith("MessagesKey") and "Alias" not in name
    } or {""}
    if key:
        arn = f"arn:aws:kms:{stacks.aws.region}:000000000000:key/{key.rpartition('/')[2]}"
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", f"kms://{arn}")

    findings = examine(round_trip=True)

    assert [each for each in findings if each.level is not Level.PASS] == []
    for role in Role:
        printed = without_making(normal(policy_statements(role)))
        assert stacks.policy(outputs[f"{role.title()}PolicyArn"]) == printed
    console = stacks.policy(outputs["ConsolePolicyArn"])
    assert kinds(console) == kinds(rights_of_console())
    assert ("Key" in console) == bool(key)


def rights_of_console() -> Policy:
    document = read_template("messages")["Resources"]["ConsolePolicy"]["Properties"][
        "PolicyDocument"
    ]
    return normal(
        [each["Fn::If"][1] if "Fn::If" in each else each for each in document["Statement"]]
    )


def kinds(policy: Policy) -> dict[str, list[str]]:
    return {name: each["Action"] for name, each in policy.items() if name != "Key"}


def of_template(name: str, resource: str) -> dict[str, Any]:
    return dict(read_template(name)["Resources"][resource]["Properties"])


def test_the_queue_is_that_of_the_template(app: Synthesized) -> None:
    theirs = of_template("messages", "Queue")
    queues = [
        each["Properties"]
        for each in app.template("Messages")["Resources"].values()
        if each["Type"] == "AWS::SQS::Queue"
    ]
    (ours,) = [each for each in queues if each["QueueName"] == app.name]
    for name in ("MaximumMessageSize", "MessageRetentionPeriod", "SqsManagedSseEnabled"):
        assert {each[name] for each in queues} == {theirs[name]}
    assert ours["RedrivePolicy"]["maxReceiveCount"] == theirs["RedrivePolicy"]["maxReceiveCount"]
    timeout = read_template("messages")["Parameters"]["VisibilityTimeout"]["Default"]
    assert ours["VisibilityTimeout"] == timeout


def test_the_task_and_its_scaling_are_those_of_the_template(app: Synthesized) -> None:
    task = app.properties("Ecs", "AWS::ECS::TaskDefinition")
    (ours,), (theirs,) = (
        each["ContainerDefinitions"] for each in (task, of_template("ecs", "Task"))
    )
    for name in ("EntryPoint", "HealthCheck", "ReadonlyRootFilesystem", "StopTimeout"):
        assert ours[name] == theirs[name]
    assert ours["Command"][1:] == theirs["Command"][1:]
    for name in ("Cpu", "Memory"):
        assert task[name] == of_template("ecs", "Task")[name]

    policy = "AWS::ApplicationAutoScaling::ScalingPolicy"
    made, written = (
        each["TargetTrackingScalingPolicyConfiguration"]
        for each in (app.properties("Ecs", policy), of_template("ecs", "Scaling"))
    )
    for name in ("ScaleInCooldown", "ScaleOutCooldown"):
        assert made[name] == written[name]
    assert made["TargetValue"] == read_template("ecs")["Parameters"]["BacklogPerTask"]["Default"]
    assert without_values(made["CustomizedMetricSpecification"]) == without_values(
        written["CustomizedMetricSpecification"]
    )


def without_values(specification: Mapping[str, Any]) -> object:
    """Without the values of dimensions, which are references."""
    metrics = copy.deepcopy(specification["Metrics"])
    for each in metrics:
        for dimension in each.get("MetricStat", {}).get("Metric", {}).get("Dimensions", []):
            del dimension["Value"]
    return metrics


def test_the_function_is_that_of_the_template(app: Synthesized) -> None:
    ours = app.properties("Lambda", "AWS::Lambda::Function")
    for name in ("Runtime", "Timeout", "MemorySize"):
        assert ours[name] == of_template("lambda", "Function")[name]
    mapping, theirs = (
        app.properties("Lambda", "AWS::Lambda::EventSourceMapping"),
        of_template("lambda", "Source"),
    )
    for name in ("FunctionResponseTypes", "BatchSize", "ScalingConfig"):
        assert mapping[name] == theirs[name]
    printed = {
        each["Sid"]: each["Action"]
        for each in of_template("lambda", "OperatorPolicy")["PolicyDocument"]["Statement"]
    }
    policy = app.properties("Lambda", "AWS::IAM::ManagedPolicy")["PolicyDocument"]["Statement"]
    assert {each["Sid"]: each["Action"] for each in policy} == printed
