# A worker on ECS Fargate. It stops no task that has messages in hand, and starts as many as the
# backlog needs.

variable "name" {
  type = string
}

variable "image" {
  description = "The image with your worker."
  type        = string
}

variable "worker" {
  description = "Where the worker is in the image, as MODULE:NAME."
  type        = string
  default     = "work:worker"
}

variable "subnets" {
  type = list(string)
}

variable "security_groups" {
  type = list(string)
}

variable "queue_url" {
  type = string
}

variable "queue_name" {
  type = string
}

variable "claim_store" {
  type = string
}

variable "encryption" {
  type    = string
  default = null
}

variable "worker_policy_arn" {
  type = string
}

variable "min_tasks" {
  description = "1 or more: the backlog is divided by the number of tasks."
  type        = number
  default     = 1
}

variable "max_tasks" {
  type    = number
  default = 10
}

variable "backlog_per_task" {
  # How long a message may wait, times messages at once, by seconds of one message:
  # 60 s x 10 / 6 s = 100.
  description = "Messages that may wait for each task."
  type        = number
  default     = 100
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting { # counts the tasks, for the scaling below
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name_prefix       = "${var.name}-"
  retention_in_days = 30
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  # One process with one core. More cores stand idle: start more tasks, or `--processes 0`.
  cpu                = 1024
  memory             = 2048 # the least for one core: docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
  execution_role_arn = aws_iam_role.execution.arn
  task_role_arn      = aws_iam_role.task.arn
  container_definitions = jsonencode([
    {
      name  = "worker"
      image = var.image
      # A list: a shell in between would keep SIGTERM to itself.
      entryPoint = ["letsgo-queue", "worker"]
      command = [
        var.worker,
        "--protect-from-scale-in",    # ECS stops no task that has messages in hand
        "--drain-timeout", "110",     # less than stopTimeout
        "--visibility-timeout", "60", # how soon another task gets a message of one that crashed
        "--health-port", "8080",
        "--log-format", "json", # as the alarms in docs/monitoring/cloudwatch.yaml read it
      ]
      # The longest on Fargate, from SIGTERM to SIGKILL:
      # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
      stopTimeout            = 120
      linuxParameters        = { initProcessEnabled = true }
      readonlyRootFilesystem = true # the worker writes no file
      environment = concat(
        [
          { name = "LETSGO_QUEUE_URL", value = var.queue_url },
          { name = "CLAIMCHECK_STORE", value = var.claim_store },
        ],
        [for key in var.encryption[*] : { name = "CLAIMCHECK_ENCRYPTION", value = key }],
      )
      healthCheck = { # a worker that is stuck is replaced; see docs/how-to/health.md
        command = [
          "CMD", "python", "-c",
          "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=4)",
        ]
        interval    = 30
        timeout     = 5
        retries     = 3
        startPeriod = 10
      }
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.this.name
          awslogs-region        = data.aws_region.this.region
          awslogs-stream-prefix = "worker"
        }
      }
    }
  ])
}

resource "aws_ecs_service" "this" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this.arn
  launch_type                        = "FARGATE"
  desired_count                      = var.min_tasks
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  network_configuration {
    subnets          = var.subnets
    security_groups  = var.security_groups
    assign_public_ip = false
  }

  deployment_circuit_breaker { # a version that does not start is rolled back
    enable   = true
    rollback = true
  }

  lifecycle {
    ignore_changes = [desired_count] # an apply would undo the scaling
  }
}

# Starts what the task needs, and writes its logs.
resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-execution-"
  assume_role_policy = local.tasks_may_assume
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

# What your code and the worker may do.
resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-task-"
  assume_role_policy = local.tasks_may_assume
}

resource "aws_iam_role_policy_attachment" "worker" {
  role       = aws_iam_role.task.name
  policy_arn = var.worker_policy_arn
}

resource "aws_iam_role_policy" "protect_from_scale_in" {
  name = "protect-from-scale-in"
  role = aws_iam_role.task.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"]
      Resource = "arn:${data.aws_partition.this.partition}:ecs:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}:task/${aws_ecs_cluster.this.name}/*"
    }]
  })
}

locals {
  tasks_may_assume = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  min_capacity       = var.min_tasks
  max_capacity       = var.max_tasks
}

# Keeps the backlog per task at the target:
# https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking-metric-math.html
resource "aws_appautoscaling_policy" "this" {
  name               = "backlog-per-task"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.backlog_per_task
    scale_out_cooldown = 60 # seconds; a task needs about one minute to start
    scale_in_cooldown  = 300

    customized_metric_specification {
      metrics {
        id          = "backlog"
        return_data = false

        metric_stat {
          stat = "Sum"

          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesVisible"

            dimensions {
              name  = "QueueName"
              value = var.queue_name
            }
          }
        }
      }

      metrics {
        id          = "tasks"
        return_data = false

        metric_stat {
          stat = "Average"

          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"

            dimensions {
              name  = "ClusterName"
              value = aws_ecs_cluster.this.name
            }

            dimensions {
              name  = "ServiceName"
              value = aws_ecs_service.this.name
            }
          }
        }
      }

      metrics {
        id         = "perTask"
        expression = "backlog / tasks"
        label      = "Backlog per task"
      }
    }
  }
}

output "log_group" {
  description = "LogGroupName of docs/monitoring/cloudwatch.yaml."
  value       = aws_cloudwatch_log_group.this.name
}
