"""docs/infrastructure/terraform, held against the CloudFormation templates that MiniStack applied.

Terraform's provider for AWS is in no package registry, so nothing here is applied. Where there is a
`terraform`, it reads all files, and evaluates the policies. `make infrastructure` also compares
arguments and attributes with the provider's schema.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from claimcheck.policies import policy_statements
from claimcheck.rights import RIGHTS, Role
from tests.docs.infrastructure.provider_schema import ProviderSchema, find_schema
from tests.docs.infrastructure.support import (
    INFRASTRUCTURE,
    ROLES,
    normal,
    read_template,
    without_making,
)
from tests.docs.infrastructure.terraform_files import Module, encoded, parse, read_module

FOLDER = INFRASTRUCTURE / "terraform"
MODULES = ("messages", "ecs", "lambda")


def module_of(name: str) -> Module:
    return read_module(FOLDER / name)


def resource(module: str, kind: str, name: str = "this") -> dict[str, Any]:
    return module_of(module).resources[kind, name]


def properties(template: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = read_template(template)["Resources"][name]["Properties"]
    return found


def default_of(template: str, parameter: str) -> object:
    return read_template(template)["Parameters"][parameter]["Default"]


def block(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """A block in blocks, each of which is there once."""
    for name in names:
        (body,) = body[name]
    return body


def in_main() -> Module:
    """The example in main.tf, with the module that is left out there."""
    text = (FOLDER / "main.tf").read_text()
    start = text.index('# module "lambda"')
    end = text.index("\n\n", start)
    return parse(text[:start] + re.sub(r"(?m)^# ?", "", text[start:end]) + text[end:])


def test_queue_and_dead_letters() -> None:
    for name, made in (("queue", "Queue"), ("dead_letters", "DeadLetters")):
        ours, theirs = resource("messages", "aws_sqs_queue", name), properties("messages", made)
        assert ours["max_message_size"] == theirs["MaximumMessageSize"]
        assert ours["message_retention_seconds"] == theirs["MessageRetentionPeriod"]
        assert ours["sqs_managed_sse_enabled"] == theirs["SqsManagedSseEnabled"]
    policy = encoded(resource("messages", "aws_sqs_queue", "queue")["redrive_policy"])
    made_policy = properties("messages", "Queue")["RedrivePolicy"]
    assert policy["maxReceiveCount"] == made_policy["maxReceiveCount"]
    assert policy["deadLetterTargetArn"] == "${aws_sqs_queue.dead_letters.arn}"
    timeout = module_of("messages").variables["visibility_timeout"]["default"]
    assert timeout == default_of("messages", "VisibilityTimeout")
    assert timeout == 6 * resource("lambda", "aws_lambda_function")["timeout"]
    pattern = read_template("messages")["Parameters"]["Name"]["AllowedPattern"]
    (validation,) = module_of("messages").variables["name"]["validation"]
    assert f'"^{pattern}$"' in validation["condition"]


def test_table_and_bucket() -> None:
    ours, theirs = (
        resource("messages", "aws_dynamodb_table", "claims"),
        properties("messages", "Table"),
    )
    assert ours["billing_mode"] == theirs["BillingMode"]
    assert [{"AttributeName": ours["hash_key"], "KeyType": "HASH"}] == theirs["KeySchema"]
    attribute, ttl = block(ours, "attribute"), block(ours, "ttl")
    assert [{"AttributeName": attribute["name"], "AttributeType": attribute["type"]}] == theirs[
        "AttributeDefinitions"
    ]
    assert {"AttributeName": ttl["attribute_name"], "Enabled": ttl["enabled"]} == theirs[
        "TimeToLiveSpecification"
    ]

    bucket = properties("messages", "Bucket")
    blocked = resource("messages", "aws_s3_bucket_public_access_block", "claims")
    assert {snake(name) for name in bucket["PublicAccessBlockConfiguration"]} == {
        name for name, value in blocked.items() if value is True
    }
    owner = resource("messages", "aws_s3_bucket_ownership_controls", "claims")
    assert block(owner, "rule")["object_ownership"] == "BucketOwnerEnforced"
    encryption = resource(
        "messages", "aws_s3_bucket_server_side_encryption_configuration", "claims"
    )
    assert block(encryption, "rule", "apply_server_side_encryption_by_default") == {
        "sse_algorithm": "AES256"
    }
    rule = block(resource("messages", "aws_s3_bucket_lifecycle_configuration", "claims"), "rule")
    (made,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["id"], rule["status"]) == (made["Id"], made["Status"])
    assert block(rule, "expiration")["days"] == made["ExpirationInDays"]
    aborted = block(rule, "abort_incomplete_multipart_upload")
    assert (
        aborted["days_after_initiation"]
        == (made["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"])
    )


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_rights_are_those_of_the_package_and_of_the_template() -> None:
    rights = module_of("messages").values["rights"]
    assert set(rights) == set(ROLES)
    for role in Role:
        printed = {kind: sorted(actions) for kind, actions in RIGHTS[role].items()}
        for kind, actions in rights[role].items():
            assert actions == printed[kind], (role, kind)
    (statements,) = [
        properties("messages", "ConsolePolicy")["PolicyDocument"]["Statement"],
    ]
    made = {each["Sid"]: each["Action"] for each in map(unconditional, statements)}
    assert rights["console"] == {
        kind: [actions] if isinstance(actions, str) else actions for kind, actions in made.items()
    }


def unconditional(statement: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = statement["Fn::If"][1] if "Fn::If" in statement else statement
    return found


@pytest.fixture(scope="module")
def terraform() -> str:
    path = shutil.which("terraform")
    if path is None:
        pytest.skip("no terraform here")
    return path


def run(terraform: str, *arguments: str, cwd: Path) -> str:
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        [terraform, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_terraform_reads_all_files(terraform: str) -> None:
    assert run(terraform, "fmt", "-check", "-recursive", "-diff", cwd=FOLDER) == ""


@pytest.mark.parametrize("encrypt", [False, True], ids=["without a key", "with a key"])
def test_terraform_makes_the_policies_that_are_printed(
    terraform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, encrypt: bool
) -> None:
    """Policies need no provider once the ARNs that they are for are filled in."""
    place = "us-west-2:123456789012"
    arns = {
        "aws_sqs_queue.queue.arn": f"arn:aws:sqs:{place}:orders",
        "aws_sqs_queue.dead_letters.arn": f"arn:aws:sqs:{place}:orders-dead-letters",
        "aws_dynamodb_table.claims.arn": f"arn:aws:dynamodb:{place}:table/orders-claims",
        "aws_s3_bucket.claims.arn": "arn:aws:s3:::claims",
        "aws_kms_key.claims[*].arn": [f"arn:aws:kms:{place}:key/1"] if encrypt else [],
    }
    text = (FOLDER / "messages/policies.tf").read_text()
    for expression, arn in arns.items():
        assert expression in text
        text = text.replace(f"${{{expression}}}", str(arn)).replace(expression, json.dumps(arn))
    text = re.sub(r"\n  name_prefix .*", "", text).replace("  policy = json", "  input = json")
    text = text.replace('resource "aws_iam_policy"', 'resource "terraform_data"')
    (tmp_path / "main.tf").write_text(
        f'variable "encrypt" {{\n  default = {json.dumps(encrypt)}\n}}\n{text}\n'
        'output "policies" {\n  value = { for r, p in terraform_data.role : r => p.output }\n}\n'
    )
    run(terraform, "init", "-backend=false", cwd=tmp_path)
    run(terraform, "apply", "-auto-approve", cwd=tmp_path)
    made = json.loads(run(terraform, "output", "-json", "policies", cwd=tmp_path))

    monkeypatch.setenv(
        "LETSGO_QUEUE_URL", "https://sqs.us-west-2.amazonaws.com/123456789012/orders"
    )
    monkeypatch.setenv("CLAIMCHECK_STORE", "dynamodb://orders-claims?bucket=claims")
    if encrypt:
        key = f"kms://{arns['aws_kms_key.claims[*].arn'][0]}"
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", key)
    for role in Role:
        printed = without_making(normal(policy_statements(role)))
        assert normal(json.loads(made[role])["Statement"]) == printed
    assert ("Key" in normal(json.loads(made["console"])["Statement"])) == encrypt


def test_the_task_is_that_of_the_template() -> None:
    (ours,) = encoded(resource("ecs", "aws_ecs_task_definition")["container_definitions"])
    (theirs,) = properties("ecs", "Task")["ContainerDefinitions"]
    assert ours["entryPoint"] == theirs["EntryPoint"]
    assert ours["command"][1:] == theirs["Command"][1:]
    health = theirs["HealthCheck"]
    assert ours["healthCheck"] == {
        name[0].lower() + name[1:]: each for name, each in health.items()
    }
    assert ours["stopTimeout"] == theirs["StopTimeout"]
    assert ours["readonlyRootFilesystem"] is theirs["ReadonlyRootFilesystem"] is True
    assert module_of("ecs").variables["worker"]["default"] == default_of("ecs", "Worker")
    task = resource("ecs", "aws_ecs_task_definition")
    assert (str(task["cpu"]), str(task["memory"])) == (
        properties("ecs", "Task")["Cpu"],
        properties("ecs", "Task")["Memory"],
    )


def test_the_scaling_is_that_of_the_template() -> None:
    ours = block(
        resource("ecs", "aws_appautoscaling_policy"), "target_tracking_scaling_policy_configuration"
    )
    theirs = properties("ecs", "Scaling")["TargetTrackingScalingPolicyConfiguration"]
    assert ours["scale_out_cooldown"] == theirs["ScaleOutCooldown"]
    assert ours["scale_in_cooldown"] == theirs["ScaleInCooldown"]
    backlog, tasks, per_task = block(ours, "customized_metric_specification")["metrics"]
    for mine, metric in zip(
        (backlog, tasks), theirs["CustomizedMetricSpecification"]["Metrics"], strict=False
    ):
        stat, made = block(mine, "metric_stat"), metric["MetricStat"]
        assert (mine["id"], stat["stat"]) == (metric["Id"], made["Stat"])
        assert block(stat, "metric")["namespace"] == made["Metric"]["Namespace"]
        assert block(stat, "metric")["metric_name"] == made["Metric"]["MetricName"]
        assert [each["name"] for each in block(stat, "metric")["dimensions"]] == [
            each["Name"] for each in made["Metric"]["Dimensions"]
        ]
    assert per_task["expression"] == "backlog / tasks"
    for name in ("min_tasks", "max_tasks", "backlog_per_task"):
        parameter = name.title().replace("_", "")
        assert module_of("ecs").variables[name]["default"] == default_of("ecs", parameter)


def test_the_function_is_that_of_the_template() -> None:
    ours, theirs = resource("lambda", "aws_lambda_function"), properties("lambda", "Function")
    assert ours["timeout"] == theirs["Timeout"]
    assert ours["memory_size"] == theirs["MemorySize"]
    assert ours["runtime"] == theirs["Runtime"]
    mapping, made = (
        resource("lambda", "aws_lambda_event_source_mapping"),
        properties("lambda", "Source"),
    )
    assert mapping["function_response_types"] == made["FunctionResponseTypes"]
    assert mapping["batch_size"] == made["BatchSize"]
    scaling = block(mapping, "scaling_config")
    assert scaling["maximum_concurrency"] == made["ScalingConfig"]["MaximumConcurrency"]
    policy = encoded(resource("lambda", "aws_iam_policy", "operator")["policy"])["Statement"]
    statements = properties("lambda", "OperatorPolicy")["PolicyDocument"]["Statement"]
    assert [(each["Sid"], each["Action"]) for each in policy] == [
        (each["Sid"], each["Action"]) for each in statements
    ]


@pytest.mark.parametrize("name", MODULES)
def test_whatever_is_referred_to_is_there(name: str) -> None:
    module = module_of(name)
    named = {(each.kind, each.name) for each in module.references()}
    assert named <= module.resources.keys()
    variables = set(re.findall(r"\bvar\.(\w+)", module.text))
    assert variables == module.variables.keys()
    assert set(re.findall(r"\blocal\.(\w+)", module.text)) == module.values.keys()


def test_the_example_gives_each_module_what_it_needs() -> None:
    example = in_main()
    assert set(example.calls) == set(MODULES)
    for name, arguments in example.calls.items():
        variables = module_of(name).variables
        needed = {each for each, body in variables.items() if "default" not in body}
        given = arguments.keys() - {"source"}
        assert needed <= given <= variables.keys()
    for name, output in re.findall(r"\bmodule\.(\w+)\.(\w+)", example.text):
        assert output in module_of(name).outputs


@pytest.fixture(scope="module")
def schema() -> ProviderSchema:
    found = find_schema()
    if found is None:
        pytest.skip("`make infrastructure` installs the schema")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_the_provider_has_all_arguments_and_attributes(name: str, schema: ProviderSchema) -> None:
    module = module_of(name)
    problems = [
        problem
        for (kind, label), body in module.resources.items()
        for problem in schema.problems(kind, label, body)
    ]
    assert problems == []
    unknown = [each for each in module.references() if not schema.has(each.kind, each.attribute)]
    assert unknown == []
