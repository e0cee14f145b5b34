output "role_arn" {
  description = "The gates' role: a task role, or that of a service account."
  value       = aws_iam_role.gate.arn
}

output "policy_arn" {
  description = "What a gate may do, for a role of your own. Name that role in more_writer_role_arns."
  value       = aws_iam_policy.gate.arn
}

output "mesh_stream_arns" {
  description = "By name."
  value       = { for name, stream in aws_kinesis_stream.mesh : name => stream.arn }
}

output "queue_urls" {
  description = "By name. `dlq` takes names, URLs and ARNs."
  value       = { for name, queue in aws_sqs_queue.dead_letters : name => queue.url }
}

output "lease_tables" {
  description = "By the stream that is read: `streams[].leases.table`."
  value       = { for name, table in aws_dynamodb_table.leases : name => table.name }
}

output "topic_arns" {
  description = "By name: `notices`."
  value       = { for name, topic in aws_sns_topic.notices : name => topic.arn }
}

output "service_control_policy" {
  description = "For the organisation, where account administrators are not to pass gates by either."
  value       = module.policy.service_control_policy
}
