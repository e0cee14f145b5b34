output "gate_policy" {
  description = "What a gate may do."
  value       = local.gate_policy
}

output "mesh_stream_policies" {
  description = "The resource policy of each mesh stream, by its ARN."
  value       = local.mesh_stream_policies
}

output "service_control_policy" {
  description = "For the organisation, where account administrators are not to pass gates by either."
  value       = local.service_control_policy
}
