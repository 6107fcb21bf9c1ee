"""docs/examples/lambda_sam: SAM's own translator makes CloudFormation of it, MiniStack a stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import claimcheck
from claimcheck import unwrap_claim_check
from claimcheck.doctor import Level, examine
from claimcheck.policies import policy_statements
from claimcheck.rights import Role
from letsgo_queue import Message, Worker, set_default_client
from tests.claimcheck.support import noise
from tests.docs.infrastructure.support import Stacks, Template, normal, stacks_on
from tests.docs.support import ROOT
from tests.docs.templates import load_template
from tests.letsgo_queue.aws_lambda.lambda_events import Context, delete_handled, receive_event
from tests.support.servers import AwsServer

TEMPLATE = ROOT / "docs/examples/lambda_sam/template.yaml"


class NoPolicies:
    """AWS's own policies by name, of which the template uses none."""

    def load(self) -> dict[str, str]:
        return {}


def translated(code: dict[str, str]) -> Template:
    """The template as SAM gives it to CloudFormation, with the code where `sam` uploads it."""
    from samtranslator.translator.transform import transform  # which takes half a second

    template = load_template(TEMPLATE)
    function = template["Resources"]["Worker"]["Properties"]
    function["CodeUri"] = {"Bucket": code["CodeBucket"], "Key": code["CodeKey"]}
    return transform(template, {}, NoPolicies())  # type: ignore[no-any-return]


@pytest.fixture
def stacks(ministack: AwsServer) -> Iterator[Stacks]:
    with stacks_on(ministack) as stacks:
        yield stacks
    set_default_client(None)


def test_the_stack_is_right_and_has_the_rights_that_are_printed(
    stacks: Stacks, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = translated(stacks.put_code())
    stack = stacks.apply(template)
    stacks.complete(template, stack["Stack"])
    url = stack["QueueUrl"]
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_STORE", stack["ClaimStore"])
    set_default_client(None)

    findings = examine(function=stack["FunctionName"], round_trip=True)

    assert [each for each in findings if each.level is not Level.PASS] == []
    things = stacks.things_of(stack["Stack"])
    role = stacks.client("iam").get_role_policy(
        RoleName=things["WorkerRole"], PolicyName="WorkerRolePolicy0"
    )
    printed = {
        role: normal(policy_statements(role, dead_letter_queue=things["DeadLetters"]))
        for role in (Role.SENDER, Role.WORKER)
    }
    assert normal(role["PolicyDocument"]["Statement"]) == printed[Role.WORKER]
    assert stacks.policy(stack["SenderPolicyArn"]) == printed[Role.SENDER]
    # MiniStack would take the messages for a function whose packages nobody installed.
    stacks.client("lambda").update_event_source_mapping(UUID=things["WorkerOrders"], Enabled=False)
    passes_through(ministack, url)


def passes_through(aws: AwsServer, url: str) -> None:
    """Send two megabytes, and have a function handle what Lambda would give it."""
    payload, got, worker = noise(2_000_000), list[str](), Worker()

    @worker.handler("order:new")
    @unwrap_claim_check
    def on_order(message: Message[str]) -> None:
        got.append(message.payload)

    assert claimcheck.enqueue({"type": "order:new", "payload": payload}).route == "stored"
    event: dict[str, Any] = receive_event(aws, url)
    answer = worker.lambda_handler(event, Context())
    assert delete_handled(aws, url, event, answer) == []
    assert got == [payload]
