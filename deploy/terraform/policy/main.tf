# The policies as JSON, and nothing else: no provider, no resource. The module above attaches them; who keeps roles elsewhere can take them
# from here.

locals {
  # Each statement is there when what it is about is. docs/operators.md has the same list, with what each is for.
  statements = [
    {
      Sid      = "Forward"
      Action   = ["kinesis:PutRecord", "kinesis:PutRecords", "kinesis:DescribeStreamSummary", "kinesis:ListShards"]
      Resource = var.mesh_stream_arns
    },
    {
      Sid      = "Quarantine"
      Action   = ["sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
      Resource = var.queue_arns
    },
    {
      Sid      = "Tell"
      Action   = ["sns:Publish"]
      Resource = var.topic_arns
    },
    {
      Sid      = "Keep"
      Action   = ["s3:PutObject"]
      Resource = [for arn in var.letter_arns : "${arn}*"]
    },
    {
      Sid      = "Encrypt"
      Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
      Resource = var.key_arns
    },
    {
      Sid      = "Read"
      Action   = ["kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"]
      Resource = var.read_stream_arns
    },
    {
      Sid      = "FanOut"
      Action   = ["kinesis:DescribeStreamSummary", "kinesis:RegisterStreamConsumer"]
      Resource = var.fan_out ? var.read_stream_arns : []
    },
    {
      Sid      = "Subscribe"
      Action   = ["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"]
      Resource = var.fan_out ? [for arn in var.read_stream_arns : "${arn}/consumer/*"] : []
    },
    {
      # Not dynamodb:CreateTable: the table is there already.
      Sid = "Lease"
      Action = [
        "dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:GetItem",
        "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem",
      ]
      Resource = var.lease_table_arns
    },
  ]

  gate_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for s in local.statements : merge(s, { Effect = "Allow" }) if length(s.Resource) > 0]
  })

  # A refusal that no right of an identity outweighs. It concerns everybody in the stream's account, AWS's own services included, and gives
  # nobody anything. Of a session, aws:PrincipalArn is the role that was assumed.
  refusal = {
    Sid       = "OnlyGatesWrite"
    Effect    = "Deny"
    Principal = "*"
    Action    = ["kinesis:PutRecord", "kinesis:PutRecords"]
    Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.writer_role_arns } }
  }

  mesh_stream_policies = {
    for arn in var.mesh_stream_arns : arn => jsonencode({
      Version   = "2012-10-17"
      Statement = concat([merge(local.refusal, { Resource = arn })], [for s in var.sharing_statements : merge(s, { Resource = arn })])
    })
  }

  # The same for an organisation, above its accounts: it holds for whoever may change the stream's own policy too, and keeps that policy.
  service_control_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "OnlyGatesWrite"
        Effect    = "Deny"
        Action    = ["kinesis:PutRecord", "kinesis:PutRecords"]
        Resource  = var.mesh_stream_arns
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.writer_role_arns } }
      },
      ], length(var.administrator_role_arns) == 0 ? [] : [
      {
        Sid       = "PoliciesOfMeshStreamsStay"
        Effect    = "Deny"
        Action    = ["kinesis:PutResourcePolicy", "kinesis:DeleteResourcePolicy"]
        Resource  = var.mesh_stream_arns
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.administrator_role_arns } }
      },
    ])
  })
}
