"""A worker on ECS Fargate: no task is stopped in its work, and the backlog starts more of them."""

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk.aws_applicationautoscaling import CfnScalableTarget, CfnScalingPolicy
from constructs import Construct
from messages import Messages

HEALTH = "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=4)"


class EcsWorker(Construct):
    """Workers for the queue, as many as its backlog needs."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        messages: Messages,
        vpc: ec2.IVpc,
        image: ecs.ContainerImage,
        worker: str = "work:worker",
        min_tasks: int = 1,
        max_tasks: int = 10,
        backlog_per_task: int = 100,
    ) -> None:
        """Make cluster, service and scaling.

        Args:
            scope: The stack.
            id: Its name there.
            messages: The queue, and the store of its claims.
            vpc: Whose private subnets have a way to SQS, DynamoDB, S3 and the image's registry.
            image: The image with your worker: that of ../container/Dockerfile.
            worker: Where the worker is in the image, as MODULE:NAME.
            min_tasks: 1 or more: the backlog is divided by the number of tasks.
            max_tasks: At most so many.
            backlog_per_task: Messages that may wait for each task: how long a message may wait,
                times messages at once, by seconds of one message. 60 s x 10 / 6 s = 100.
        """
        super().__init__(scope, id)
        cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=vpc,
            container_insights_v2=ecs.ContainerInsights.ENABLED,  # counts the tasks, for scaling
        )
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            # One process with one core. More cores stand idle: start more tasks, or use
            # `--processes 0`.
            cpu=1024,
            # The least for one core:
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
            memory_limit_mib=2048,
        )
        settings = {
            "LETSGO_QUEUE_URL": messages.queue.queue_url,
            "CLAIMCHECK_STORE": messages.claim_store,
        }
        if messages.encryption is not None:
            settings["CLAIMCHECK_ENCRYPTION"] = messages.encryption
        task.add_container(
            "worker",
            image=image,
            # Lists: a shell in between would keep SIGTERM to itself.
            entry_point=["letsgo-queue", "worker"],
            command=[
                worker,
                "--protect-from-scale-in",  # ECS stops no task that has messages in hand
                "--drain-timeout",
                "110",  # less than stop_timeout
                "--visibility-timeout",
                "60",  # how soon another task gets a message of one that crashed
                "--health-port",
                "8080",
                "--log-format",
                "json",  # as the alarms in docs/monitoring/cloudwatch.yaml read it
            ],
            # The longest on Fargate, from SIGTERM to SIGKILL:
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
            stop_timeout=Duration.seconds(120),
            linux_parameters=ecs.LinuxParameters(self, "Linux", init_process_enabled=True),
            readonly_root_filesystem=True,  # the worker writes no file
            environment=settings,
            health_check=ecs.HealthCheck(  # a worker that is stuck is replaced
                command=["CMD", "python", "-c", HEALTH],
                interval=Duration.seconds(30),
                timeout=Duration.seconds(5),
                retries=3,
                start_period=Duration.seconds(10),
            ),
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix="worker", log_retention=logs.RetentionDays.ONE_MONTH
            ),
        )
        task.task_role.add_managed_policy(messages.policies["worker"])
        task.task_role.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"],
                resources=[
                    f"arn:{Aws.PARTITION}:ecs:{Aws.REGION}:{Aws.ACCOUNT_ID}:task/{cluster.cluster_name}/*"
                ],
            )
        )
        # No desired_count: a deployment would undo the scaling.
        service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=task,
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),  # of a version that fails
        )
        target = CfnScalableTarget(
            self,
            "Target",
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=f"service/{cluster.cluster_name}/{service.service_name}",
            min_capacity=min_tasks,
            max_capacity=max_tasks,
        )
        # Keeps the backlog per task at the target:
        # https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking-metric-math.html
        # CDK's own target tracking takes no metric math, so these are CloudFormation's properties.
        visible = messages.queue.metric_approximate_number_of_messages_visible()
        metrics = [
            _metric("backlog", "Sum", visible),
            _metric("tasks", "Average", _running_tasks(cluster, service)),
            CfnScalingPolicy.TargetTrackingMetricDataQueryProperty(
                id="perTask", expression="backlog / tasks", label="Backlog per task"
            ),
        ]
        CfnScalingPolicy(
            self,
            "Scaling",
            policy_name="backlog-per-task",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=(
                CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                    target_value=backlog_per_task,
                    scale_out_cooldown=60,  # seconds; a task needs about one minute to start
                    scale_in_cooldown=300,
                    customized_metric_specification=(
                        CfnScalingPolicy.CustomizedMetricSpecificationProperty(metrics=metrics)
                    ),
                )
            ),
        )


def _running_tasks(cluster: ecs.Cluster, service: ecs.FargateService) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="ECS/ContainerInsights",
        metric_name="RunningTaskCount",
        dimensions_map={
            "ClusterName": cluster.cluster_name,
            "ServiceName": service.service_name,
        },
    )


def _metric(
    id: str, stat: str, metric: cloudwatch.Metric
) -> CfnScalingPolicy.TargetTrackingMetricDataQueryProperty:
    """A metric that the expression names."""
    dimensions = [
        CfnScalingPolicy.TargetTrackingMetricDimensionProperty(name=name, value=value)
        for name, value in (metric.dimensions or {}).items()
    ]
    found = CfnScalingPolicy.TargetTrackingMetricProperty(
        namespace=metric.namespace, metric_name=metric.metric_name, dimensions=dimensions
    )
    return CfnScalingPolicy.TargetTrackingMetricDataQueryProperty(
        id=id,
        return_data=False,
        metric_stat=CfnScalingPolicy.TargetTrackingMetricStatProperty(stat=stat, metric=found),
    )
