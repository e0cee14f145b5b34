variable "mesh_stream_arns" {
  description = "Streams that good events go to."
  type        = list(string)
}

variable "queue_arns" {
  description = "Dead-letter queues."
  type        = list(string)
}

variable "topic_arns" {
  description = "Topics of notices."
  type        = list(string)
  default     = []
}

variable "letter_arns" {
  description = "Where letters go on S3: a bucket's ARN, a slash and the prefix."
  type        = list(string)
  default     = []
}

variable "key_arns" {
  description = "KMS keys of your own that any of these are encrypted with."
  type        = list(string)
  default     = []
}

variable "read_stream_arns" {
  description = "Streams that gates read."
  type        = list(string)
  default     = []
}

variable "fan_out" {
  description = "Whether they are read by enhanced fan-out."
  type        = bool
  default     = false
}

variable "lease_table_arns" {
  description = "Lease tables of the streams that are read."
  type        = list(string)
  default     = []
}

variable "writer_role_arns" {
  description = "Roles that may write to the mesh streams: those of gates."
  type        = list(string)
  default     = []
}

variable "sharing_statements" {
  description = "More statements for the mesh streams' policies, without Resource, as those that let another account read. A stream has one policy."
  type        = any
  default     = []
}

variable "administrator_role_arns" {
  description = "Roles that may change the mesh streams' policies, in the service control policy: what applies this module."
  type        = list(string)
  default     = []
}
