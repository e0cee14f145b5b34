# What gates need on AWS: streams, queues, lease tables, a bucket and topics where they are wanted.

locals {
  queues = length(var.dead_letter_queues) > 0 ? var.dead_letter_queues : toset(["${var.name}-dlq"])
}

resource "aws_kinesis_stream" "mesh" {
  for_each = var.mesh_streams

  name             = each.key
  shard_count      = each.value.shards
  retention_period = each.value.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = coalesce(var.kms_key_arn, "alias/aws/kinesis")
  tags             = var.tags

  stream_mode_details {
    stream_mode = each.value.shards == null ? "ON_DEMAND" : "PROVISIONED"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kinesis_resource_policy" "mesh" {
  for_each = { for name, stream in aws_kinesis_stream.mesh : name => stream.arn if var.only_gates_write }

  resource_arn = each.value
  policy       = module.policy.mesh_stream_policies[each.value]
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = local.queues

  name = each.key
  # The most there is: 14 days.
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  tags                      = var.tags

  # A name that ends so is a FIFO queue's, whose letters keep their order.
  fifo_queue = endswith(each.key, ".fifo")

  lifecycle {
    prevent_destroy = true
  }
}

# The layout of the Kinesis Client Library: docs/operators.md, "What the gate may do on AWS".
resource "aws_dynamodb_table" "leases" {
  for_each = var.read_stream_arns

  name         = "${each.key}-gate"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "leaseKey"
  tags         = var.tags

  attribute {
    name = "leaseKey"
    type = "S"
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }
}

resource "aws_s3_bucket" "letters" {
  count = var.letters == null ? 0 : 1

  bucket = var.letters.bucket
  tags   = var.tags
}

resource "aws_s3_bucket_public_access_block" "letters" {
  count = var.letters == null ? 0 : 1

  bucket                  = aws_s3_bucket.letters[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "letters" {
  count = var.letters == null ? 0 : 1

  bucket = aws_s3_bucket.letters[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "letters" {
  count = var.letters == null ? 0 : 1

  bucket = aws_s3_bucket.letters[0].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "letters" {
  count = var.letters == null ? 0 : 1

  bucket = aws_s3_bucket.letters[0].id

  # Longer than the queue keeps the messages that point to them.
  rule {
    id     = "letters"
    status = "Enabled"

    filter {
      prefix = "${var.letters.prefix}domain="
    }

    expiration {
      days = 21
    }
  }

  rule {
    id     = "archive"
    status = "Enabled"

    filter {
      prefix = "${var.letters.prefix}archive/"
    }

    expiration {
      days = var.letters.archive_days
    }
  }
}

resource "aws_sns_topic" "notices" {
  for_each = var.topics

  name              = each.key
  fifo_topic        = endswith(each.key, ".fifo")
  kms_master_key_id = var.kms_key_arn
  tags              = var.tags
}
