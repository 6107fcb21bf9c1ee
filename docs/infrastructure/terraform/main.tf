# The three modules together. Keep `messages`, and one of the two workers.
# docs/how-to/deploy.md says how these files were tested.
#
#   terraform init && terraform apply -var image=... -var 'subnets=["subnet-1"]' -var 'security_groups=["sg-1"]'

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "image" {
  description = "The image with your worker: that of ../container/Dockerfile."
  type        = string
}

variable "subnets" {
  description = "Private ones, with a way to SQS, DynamoDB, S3 and the image's registry."
  type        = list(string)
}

variable "security_groups" {
  description = "Which let HTTPS out. Nothing needs to come in."
  type        = list(string)
}

module "messages" {
  source = "./messages"
  name   = "orders"
}

# A worker on ECS. It extends the visibility timeout while a handler runs, so it asks for a short one.
module "ecs" {
  source            = "./ecs"
  name              = "orders-worker"
  image             = var.image
  subnets           = var.subnets
  security_groups   = var.security_groups
  queue_url         = module.messages.queue_url
  queue_name        = module.messages.queue_name
  claim_store       = module.messages.claim_store
  encryption        = module.messages.encryption
  worker_policy_arn = module.messages.policy_arns["worker"]
}

# Or a worker on Lambda: then leave the module above and the variables out.
#
# module "lambda" {
#   source            = "./lambda"
#   name              = "orders-worker"
#   package           = "worker.zip"
#   queue_arn         = module.messages.queue_arn
#   claim_store       = module.messages.claim_store
#   encryption        = module.messages.encryption
#   worker_policy_arn = module.messages.policy_arns["worker"]
# }

output "queue_url" {
  description = "LETSGO_QUEUE_URL of senders and workers."
  value       = module.messages.queue_url
}

output "claim_store" {
  description = "CLAIMCHECK_STORE of senders and workers."
  value       = module.messages.claim_store
}

output "policy_arns" {
  description = "The policies of sender, worker, operator and console."
  value       = module.messages.policy_arns
}
