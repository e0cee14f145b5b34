# The gates' role. A pod or a task has one role for all its containers: docs/deploy.md, "So that nobody passes the gate by".

locals {
  trusted_services = length(var.services) == 0 ? [] : [{
    Effect    = "Allow"
    Principal = { Service = var.services }
    # EKS Pod Identity tags its sessions.
    Action = contains(var.services, "pods.eks.amazonaws.com") ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
  }]
  trusted_accounts = var.service_accounts == null ? [] : [{
    Effect    = "Allow"
    Principal = { Federated = var.service_accounts.provider_arn }
    Action    = ["sts:AssumeRoleWithWebIdentity"]
    Condition = {
      StringEquals = {
        "${var.service_accounts.issuer}:aud" = var.service_accounts.audience
        "${var.service_accounts.issuer}:sub" = var.service_accounts.subjects
      }
    }
  }]
}

resource "aws_iam_role" "gate" {
  name = "${var.name}-gate"
  tags = var.tags

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.trusted_services, local.trusted_accounts)
  })
}

module "policy" {
  source = "./policy"

  mesh_stream_arns        = [for stream in aws_kinesis_stream.mesh : stream.arn]
  queue_arns              = [for queue in aws_sqs_queue.dead_letters : queue.arn]
  topic_arns              = [for topic in aws_sns_topic.notices : topic.arn]
  letter_arns             = [for bucket in aws_s3_bucket.letters : "${bucket.arn}/${var.letters.prefix}"]
  key_arns                = var.kms_key_arn == null ? [] : [var.kms_key_arn]
  read_stream_arns        = values(var.read_stream_arns)
  fan_out                 = var.fan_out
  lease_table_arns        = [for table in aws_dynamodb_table.leases : table.arn]
  writer_role_arns        = concat([aws_iam_role.gate.arn], var.more_writer_role_arns)
  sharing_statements      = var.sharing_statements
  administrator_role_arns = var.administrator_role_arns
}

resource "aws_iam_policy" "gate" {
  name        = "${var.name}-gate"
  description = "What a gate may do (docs/operators.md)"
  policy      = module.policy.gate_policy
  tags        = var.tags
}

resource "aws_iam_role_policy_attachment" "gate" {
  role       = aws_iam_role.gate.name
  policy_arn = aws_iam_policy.gate.arn
}
