# What messages need: a queue and its dead letters, a table and a bucket for claims, and a policy for
# each role.

variable "name" {
  description = "The queue's name. The others begin with it."
  type        = string

  validation {
    # With account and region it is a bucket's name, which has at most 63 characters.
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,26}$", var.name))
    error_message = "Use 1 to 27 of a-z, 0-9 and -, and no - at the beginning."
  }
}

variable "visibility_timeout" {
  # On Lambda at least six times the function's timeout, which is 60 seconds in ../lambda:
  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
  # Elsewhere the worker extends it while a handler runs. It says how soon another worker gets a
  # message after a crash, and ../ecs asks for 60 seconds by itself.
  description = "Seconds that a received message is hidden from others, at most 12 hours."
  type        = number
  default     = 360
}

variable "encrypt" {
  # Read docs/how-to/encryption.md first: then every message is sealed, also a small one.
  description = "Whether payloads are encrypted with a key of KMS, which costs $1 a month."
  type        = bool
  default     = false
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

resource "aws_sqs_queue" "queue" {
  name = var.name
  # 1 MiB, the most that SQS takes, and 14 days, the longest that it keeps a message:
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
  max_message_size           = 1048576
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = var.visibility_timeout
  # SQS's own encryption of what lies on its disks, at no cost. `encrypt` (above) is something else.
  sqs_managed_sse_enabled = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    # Lambda may receive a message and have no room for it. So AWS asks for 5 or more:
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    maxReceiveCount = 5
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sqs_queue" "dead_letters" {
  name             = "${var.name}-dead-letters" # the name that `claimcheck iam` expects
  max_message_size = 1048576                    # as the queue's, or a large message cannot move here
  # Not less than the queue's: on a standard queue the time of a dead letter counts from when it was
  # first sent.
  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    # Spelled out: each of the two queues cannot wait for the other one.
    sourceQueueArns = [
      "arn:${data.aws_partition.this.partition}:sqs:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}:${var.name}"
    ]
  })

  lifecycle {
    prevent_destroy = true
  }
}

# Who has which claim: the same table as `claimcheck store create` makes.
resource "aws_dynamodb_table" "claims" {
  name         = "${var.name}-claims"
  billing_mode = "PAY_PER_REQUEST" # nothing is paid while nothing is stored
  hash_key     = "id"

  attribute {
    name = "id"
    type = "S"
  }

  ttl { # DynamoDB removes receipts after 30 days, at no cost
    attribute_name = "expires_at"
    enabled        = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

# The contents of claims. Few large messages? The table alone can keep them: leave the bucket and its
# rights out, and see docs/how-to/permissions.md for those of the table.
resource "aws_s3_bucket" "claims" {
  # Unique among all of AWS.
  bucket = "${var.name}-claims-${data.aws_caller_identity.this.account_id}-${data.aws_region.this.region}"

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "claims" { # claims are payloads
  bucket                  = aws_s3_bucket.claims.id
  block_public_acls       = true
  ignore_public_acls      = true
  block_public_policy     = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "claims" { # no ACL gives an object away
  bucket = aws_s3_bucket.claims.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "claims" {
  bucket = aws_s3_bucket.claims.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# No versioning: it would keep what the library removes.
resource "aws_s3_bucket_lifecycle_configuration" "claims" {
  bucket = aws_s3_bucket.claims.id

  rule {
    id     = "claimcheck"
    status = "Enabled"

    filter {} # all objects

    # The longest that a message can need its claim: 15 days of delay and queue, 14 among the dead
    # letters, 14 more after a redrive. This is the net: what was handled goes at once.
    expiration {
      days = 43
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

# The key of CLAIMCHECK_ENCRYPTION. The key's own policy is AWS's default: the account's policies say
# who may use it, which are those in policies.tf.
resource "aws_kms_key" "claims" {
  count               = var.encrypt ? 1 : 0
  description         = "Encrypts the payloads of ${var.name}."
  enable_key_rotation = true # KMS keeps what decrypts older messages

  lifecycle {
    prevent_destroy = true # without it nobody reads a message any more
  }
}

resource "aws_kms_alias" "claims" {
  count         = var.encrypt ? 1 : 0
  name          = "alias/${var.name}-claims"
  target_key_id = aws_kms_key.claims[0].key_id
}

output "queue_url" {
  description = "LETSGO_QUEUE_URL of senders and workers."
  value       = aws_sqs_queue.queue.url
}

output "queue_name" {
  description = "What alarms and scaling watch; see docs/monitoring/cloudwatch.yaml."
  value       = aws_sqs_queue.queue.name
}

output "queue_arn" {
  value = aws_sqs_queue.queue.arn
}

output "claim_store" {
  description = "CLAIMCHECK_STORE of senders and workers."
  value       = "dynamodb://${aws_dynamodb_table.claims.name}?bucket=${aws_s3_bucket.claims.bucket}"
}

output "encryption" {
  description = "CLAIMCHECK_ENCRYPTION of senders and workers; null without a key."
  value       = one([for key in aws_kms_key.claims : "kms://${key.arn}"])
}

output "policy_arns" {
  description = "The policies of sender, worker, operator and console."
  value       = { for role, policy in aws_iam_policy.role : role => policy.arn }
}
