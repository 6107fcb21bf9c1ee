# A worker on AWS Lambda.

variable "name" {
  description = "The function's name, which `claimcheck doctor --lambda` is given."
  type        = string
}

variable "package" {
  description = "The zip file with your code, letsgo-claimcheck and its packages."
  type        = string
}

variable "handler" {
  description = "In that module: handler = worker.lambda_handler"
  type        = string
  default     = "work.handler"
}

variable "queue_arn" {
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

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

resource "aws_lambda_function" "this" {
  function_name    = var.name
  runtime          = "python3.13"
  handler          = var.handler
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  role             = aws_iam_role.this.arn
  # Seconds for a whole batch. The queue's visibility timeout is six times as long.
  timeout = 60
  # MB. A message that is opened counts three times, so one of CLAIMCHECK_MAX_SIZE (64 MiB) fits.
  # `claimcheck doctor --largest BYTES` says what a whole batch of yours needs.
  memory_size = 512

  environment {
    # Without a queue's URL: the event says which queue a message came from.
    variables = merge(
      { CLAIMCHECK_STORE = var.claim_store },
      { for key in var.encryption[*] : "CLAIMCHECK_ENCRYPTION" => key },
    )
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.this.name
  }
}

resource "aws_lambda_event_source_mapping" "this" {
  function_name    = aws_lambda_function.this.arn
  event_source_arn = var.queue_arn
  # Without this Lambda deletes the messages that failed:
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
  function_response_types = ["ReportBatchItemFailures"]
  batch_size              = 10

  scaling_config {
    # At once, 2 to 1,000. Without it Lambda takes messages that it then has no room for:
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    maximum_concurrency = 10
  }

  depends_on = [aws_iam_role_policy_attachment.worker] # Lambda tries to receive at once
}

resource "aws_cloudwatch_log_group" "this" {
  name_prefix       = "${var.name}-"
  retention_in_days = 30
}

# Lambda receives and deletes with the rights of this role: the worker's policy has them.
resource "aws_iam_role" "this" {
  name_prefix = "${var.name}-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "worker" {
  role       = aws_iam_role.this.name
  policy_arn = var.worker_policy_arn
}

resource "aws_iam_role_policy" "logs" {
  name = "logs"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.this.arn}:*"
    }]
  })
}

# What `claimcheck doctor --lambda` asks, beside the operator's policy of ../messages.
resource "aws_iam_policy" "operator" {
  name_prefix = "${var.name}-operator-"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Function"
        Effect   = "Allow"
        Action   = ["lambda:GetFunctionConcurrency", "lambda:GetFunctionConfiguration"]
        Resource = aws_lambda_function.this.arn
      },
      {
        Sid      = "EventSourceMappings"
        Effect   = "Allow"
        Action   = "lambda:ListEventSourceMappings"
        Resource = "*" # IAM knows no narrower one
      },
      {
        Sid      = "Policies"
        Effect   = "Allow"
        Action   = "iam:SimulatePrincipalPolicy"
        Resource = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:role/*"
      },
    ]
  })
}
