# One policy for each role, as `claimcheck iam --as ROLE` prints it. docs/how-to/permissions.md says
# what each right is for.

locals {
  # What is asked for, as statements of a policy are named.
  arns = {
    Queue           = aws_sqs_queue.queue.arn
    DeadLetterQueue = aws_sqs_queue.dead_letters.arn
    Metrics         = "*" # IAM knows no narrower one
    Items           = aws_dynamodb_table.claims.arn
    Table           = aws_dynamodb_table.claims.arn
    Objects         = "${aws_s3_bucket.claims.arn}/*"
    Bucket          = aws_s3_bucket.claims.arn
    Key             = one(aws_kms_key.claims[*].arn)
  }

  rights = {
    # Who enqueues.
    sender = {
      Queue   = ["sqs:GetQueueAttributes", "sqs:SendMessage"]
      Objects = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"]
      Key     = ["kms:GenerateDataKey"]
    }
    # Who handles messages. It may enqueue as well; with `encrypt` it needs the sender's policy for that.
    worker = {
      Queue = [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
      ]
      DeadLetterQueue = ["sqs:SendMessage"]
      Items           = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      Objects         = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      Bucket          = ["s3:ListBucket"]
      Key             = ["kms:Decrypt"]
    }
    # Who runs the commands, the console included. The statements Make* that `claimcheck iam` prints too
    # are left out: this module makes everything.
    operator = {
      Queue = [
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "sqs:PurgeQueue",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
      ]
      DeadLetterQueue = [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
      ]
      Metrics = ["cloudwatch:GetMetricData"]
      Items   = ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem"]
      Table   = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan"]
      Objects = ["s3:DeleteObject", "s3:GetObject"]
      Bucket = [
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:ListBucket",
      ]
      Key = ["kms:Decrypt", "kms:GenerateDataKey"]
    }
    # Who looks at `letsgo-queue console --read-only`: it cannot take a message from a queue, or change
    # anything. A console that redrives and deletes needs the operator's policy.
    console = {
      Queue           = ["sqs:GetQueueAttributes"]
      DeadLetterQueue = ["sqs:GetQueueAttributes"]
      Metrics         = ["cloudwatch:GetMetricData"]
      Items           = ["dynamodb:BatchGetItem", "dynamodb:GetItem"]
      Table           = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan"]
      Objects         = ["s3:GetObject"]
      Bucket = [
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:ListBucket",
      ]
      Key = ["kms:Decrypt", "kms:GenerateDataKey"]
    }
  }

  # The key is for what this library encrypts, and for nothing else.
  conditions = {
    Key = { StringEquals = { "kms:EncryptionContext:application" = "letsgo-claimcheck" } }
  }
}

resource "aws_iam_policy" "role" {
  for_each    = local.rights
  name_prefix = "${var.name}-${each.key}-"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for kind, actions in each.value : merge(
        { Sid = kind, Effect = "Allow", Action = actions, Resource = local.arns[kind] },
        { for name, condition in local.conditions : "Condition" => condition if name == kind },
      ) if kind != "Key" || var.encrypt
    ]
  })
}
