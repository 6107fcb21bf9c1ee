"""What the tests of docs/infrastructure share: stacks on MiniStack, and policies to compare."""

from __future__ import annotations

import functools
import io
import json
import os
import socket
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import boto3
from botocore.exceptions import WaiterError

from tests.docs.support import ROOT
from tests.docs.templates import load_template
from tests.support.servers import AwsServer

INFRASTRUCTURE = ROOT / "docs/infrastructure"
# Read here, as no test sees the caller's variables.
TOOLS = Path(os.environ.get("LETSGO_TEST_TOOLS", "/no-such-folder/bin"))
"""Heavy tools, which `make infrastructure` installs and names."""

ROLES = ("sender", "worker", "operator", "console")

Template: TypeAlias = dict[str, Any]
Edit: TypeAlias = Callable[[Template], None]
Policy: TypeAlias = dict[str, dict[str, Any]]
"""The statements of a policy by their name, in one way of writing them."""


@dataclass
class Stacks:
    """CloudFormation on MiniStack.

    Attributes:
        aws: MiniStack.
    """

    aws: AwsServer
    _made: list[str] = field(default_factory=list)

    def apply(self, template: Template, /, **parameters: str) -> dict[str, str]:
        """Make a stack, and return its name, as `Stack`, and its outputs.

        Raises:
            AssertionError: A resource could not be made.
        """
        client = self.client("cloudformation")
        name = f"test-{uuid.uuid4().hex[:8]}"
        client.create_stack(
            StackName=name,
            TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
        self._made.append(name)
        try:
            client.get_waiter("stack_create_complete").wait(
                StackName=name, WaiterConfig={"Delay": 0.2, "MaxAttempts": 300}
            )
        except WaiterError as error:
            events = client.describe_stack_events(StackName=name)["StackEvents"]
            raise AssertionError(
                [each.get("ResourceStatusReason") for each in events if each["ResourceStatus"]]
            ) from error
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
        return {"Stack": name, **outputs}

    def things_of(self, stack: str) -> dict[str, str]:
        """The physical ids of what a stack made, by their names in the template."""
        client = self.client("cloudformation")
        made = client.describe_stack_resources(StackName=stack)["StackResources"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in made}

    def complete(self, template: Template, stack: str) -> None:
        """Do what MiniStack's CloudFormation leaves out: the TTL and the lifecycle rules."""
        things = self.things_of(stack)
        for name, each in template["Resources"].items():
            properties = each.get("Properties", {})
            if ttl := properties.get("TimeToLiveSpecification"):
                self.aws.dynamodb().update_time_to_live(
                    TableName=things[name], TimeToLiveSpecification=ttl
                )
            if lifecycle := properties.get("LifecycleConfiguration"):
                rules = [_rule(rule) for rule in lifecycle["Rules"]]
                self.aws.s3().put_bucket_lifecycle_configuration(
                    Bucket=things[name],
                    LifecycleConfiguration=cast("Any", {"Rules": rules}),
                )

    def policy(self, arn: str) -> Policy:
        """A managed policy as IAM has it."""
        client = self.client("iam")
        version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = client.get_policy_version(PolicyArn=arn, VersionId=version)
        return normal(document["PolicyVersion"]["Document"]["Statement"])

    def put_code(self) -> dict[str, str]:
        """Put a function's code into a bucket; the parameters that name it."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr("work.py", "def handler(event, context): ...")
        bucket = self.aws.make_bucket()
        self.aws.s3().put_object(Bucket=bucket, Key="worker.zip", Body=packed.getvalue())
        return {"CodeBucket": bucket, "CodeKey": "worker.zip"}

    def client(self, service: str) -> Any:
        """A client of boto3."""
        session = cast("Any", boto3.Session("test", "test", region_name=self.aws.region))
        return session.client(service, endpoint_url=self.aws.endpoint_url)

    def remove(self) -> None:
        """Delete the stacks, the last one first. What they retain has a name of its own."""
        client = self.client("cloudformation")
        for name in reversed(self._made):
            client.delete_stack(StackName=name)


@contextmanager
def stacks_on(aws: AwsServer) -> Iterator[Stacks]:
    """Stacks that are deleted when the block ends."""
    stacks = Stacks(aws)
    try:
        yield stacks
    finally:
        stacks.remove()


@functools.cache
def read_template(name: str) -> Template:
    """A template of CloudFormation, with its functions in their long form."""
    return load_template(INFRASTRUCTURE / "cloudformation" / f"{name}.yaml")


def normal(statements: Sequence[Mapping[str, Any]]) -> Policy:
    """Statements by their name; IAM takes one action or resource for a list of one."""
    return {
        str(each["Sid"]): {
            **each,
            "Action": sorted(_listed(each["Action"])),
            "Resource": sorted(_listed(each["Resource"])),
        }
        for each in statements
    }


def without_making(policy: Policy) -> Policy:
    """An operator's policy where templates make everything."""
    return {name: each for name, each in policy.items() if not name.startswith("Make")}


def without(names: Sequence[str]) -> Edit:
    """An edit that takes resources out of a template."""

    def edit(template: Template) -> None:
        for name in names:
            del template["Resources"][name]

    return edit


def tool(name: str) -> Path | None:
    """One of the heavy tools, if `make infrastructure` has installed it."""
    path = TOOLS / name
    return path if path.exists() else None


def option(command: Sequence[str], name: str) -> float:
    """The number that an option of a command has."""
    return float(command[command.index(name) + 1])


def in_process(command: Sequence[str]) -> list[str]:
    """A command of an image, as it runs in this environment."""
    program, *arguments = command
    modules = {
        "letsgo-queue": ["-m", "letsgo_queue.cli.app"],
        "claimcheck": ["-m", "claimcheck.cli.app"],
        "python": [],
    }
    return [sys.executable, *modules[program], *arguments]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A lifecycle rule as S3 itself takes it."""
    return {
        "ID": rule["Id"],
        "Status": rule["Status"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
        "Expiration": {"Days": rule["ExpirationInDays"]},
        "AbortIncompleteMultipartUpload": rule["AbortIncompleteMultipartUpload"],
    }
