"""One queue, and two ways to run its worker: keep one of the stacks Ecs and Lambda.

    pip install aws-cdk-lib
    cdk deploy Messages Lambda --app 'python app.py'

docs/how-to/deploy.md says how this was tested.
"""

from pathlib import Path

from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from ecs_worker import EcsWorker
from lambda_worker import VISIBILITY_TIMEOUT, LambdaWorker
from messages import Messages

CODE = Path(__file__).parents[2] / "examples/lambda_sam"
"""An example. Install letsgo-claimcheck into its folder: `pip install --target`."""

app = App()

base = Stack(app, "Messages")
messages = Messages(
    base, "Messages", name="orders", visibility_timeout=VISIBILITY_TIMEOUT, encrypt=False
)
CfnOutput(base, "QueueUrl", value=messages.queue.queue_url)  # LETSGO_QUEUE_URL of the senders
CfnOutput(base, "ClaimStore", value=messages.claim_store)  # CLAIMCHECK_STORE of the senders
for role, policy in messages.policies.items():
    CfnOutput(base, f"{role.title()}PolicyArn", value=policy.managed_policy_arn)

on_ecs = Stack(app, "Ecs")
EcsWorker(
    on_ecs,
    "Worker",
    messages=messages,
    vpc=ec2.Vpc(on_ecs, "Vpc", max_azs=2),  # better your own: ec2.Vpc.from_lookup(...)
    image=ecs.ContainerImage.from_registry("shop"),  # or from_asset("../container")
)

on_lambda = Stack(app, "Lambda")
function = LambdaWorker(
    on_lambda,
    "Worker",
    messages=messages,
    code=lambda_.Code.from_asset(str(CODE)),
    handler="app.handler",
)
CfnOutput(on_lambda, "FunctionName", value=function.function.function_name)
CfnOutput(on_lambda, "OperatorPolicyArn", value=function.operator_policy.managed_policy_arn)

app.synth()
