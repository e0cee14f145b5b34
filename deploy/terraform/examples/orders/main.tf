# The domain "orders": a sidecar's stream, and a fleet that reads what a legacy system writes.

provider "aws" {
  region = "eu-central-1"
}

data "aws_kinesis_stream" "raw" {
  name = "orders-raw"
}

module "orders" {
  source = "../.."

  name             = "orders"
  mesh_streams     = { orders-events = {} }
  read_stream_arns = { orders-raw = data.aws_kinesis_stream.raw.arn }
  letters          = { bucket = "example-orders-dead-letters" }
  topics           = ["orders-notices"]

  service_accounts = {
    provider_arn = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
    issuer       = "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE"
    subjects     = ["system:serviceaccount:shop:orders-producer"]
  }
}

output "role_arn" {
  value = module.orders.role_arn
}
