variable "name" {
  description = "Names of what is made begin with it: a domain, as orders."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "A name is 2 to 31 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "mesh_streams" {
  description = "Streams that good events go to, by name. With shards, provisioned; without, on demand."
  type = map(object({
    shards          = optional(number)
    retention_hours = optional(number, 168)
  }))
}

variable "dead_letter_queues" {
  description = "Names of dead-letter queues. Default: one, the name and -dlq."
  type        = set(string)
  default     = []
}

variable "read_stream_arns" {
  description = "Streams that others write to and gates read (`streams`). They are there already. Each has a lease table."
  type        = map(string)
  default     = {}
}

variable "fan_out" {
  description = "Whether gates read them by enhanced fan-out."
  type        = bool
  default     = false
}

variable "letters" {
  description = "A bucket for letters too large for their queue, and for an archive of all. Default: none."
  type = object({
    bucket       = string
    prefix       = optional(string, "meshgate/")
    archive_days = optional(number, 400)
  })
  default = null
}

variable "topics" {
  description = "Names of topics for notices of quarantine."
  type        = set(string)
  default     = []
}

variable "kms_key_arn" {
  description = "A key of yours for all of these. Default: keys of AWS."
  type        = string
  default     = null
}

variable "services" {
  description = "Who hands the gates' role to them: ecs-tasks.amazonaws.com, pods.eks.amazonaws.com, ec2.amazonaws.com."
  type        = list(string)
  default     = ["ecs-tasks.amazonaws.com"]
}

variable "service_accounts" {
  description = "IAM roles for service accounts: the cluster's OIDC provider, and who may assume the role, as system:serviceaccount:shop:orders-producer."
  type = object({
    provider_arn = string
    # Without https://.
    issuer   = string
    subjects = list(string)
    audience = optional(string, "sts.amazonaws.com")
  })
  default = null
}

variable "only_gates_write" {
  description = "Whether everybody else is refused by the mesh streams. Say false while producers still write to them."
  type        = bool
  default     = true
}

variable "more_writer_role_arns" {
  description = "Roles besides the one made here that may write to the mesh streams, as those of replays."
  type        = list(string)
  default     = []
}

variable "sharing_statements" {
  description = "More statements for the mesh streams' policies, without Resource, as those that let another account read. A stream has one policy."
  type        = any
  default     = []
}

variable "administrator_role_arns" {
  description = "Roles that may change the mesh streams' policies, in the output service_control_policy."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Of everything."
  type        = map(string)
  default     = {}
}
