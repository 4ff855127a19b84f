# The outputs of ../../template.yaml by Terraform's names. What the stack doesn't have is null.

output "base_url" {
  description = "The tenant's API"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "BaseUrl", null)
}

output "function_name" {
  description = "The function's name, to invoke it by hand"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FunctionName", null)
}

output "function_arn" {
  description = "The function's ARN"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FunctionArn", null)
}

output "backfiller_name" {
  description = "The name of a backfill's function, to invoke it by hand"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "BackfillerName", null)
}

output "backfiller_arn" {
  description = "The ARN of a backfill's function"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "BackfillerArn", null)
}

output "role_arn" {
  description = "The functions' role, for the policies of an existing bucket and its key"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RoleArn", null)
}

output "records_bucket_name" {
  description = "The bucket of the records"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RecordsBucketName", null)
}

output "state_bucket_name" {
  description = "The bucket of the checkpoint and other state"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "StateBucketName", null)
}

output "s3_prefix" {
  description = "The prefix of the records"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "S3Prefix", null)
}

output "notify" {
  description = "How the stack notifies of new objects"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "Notify", null)
}

output "streams" {
  description = "The streams that are collected"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "Streams", null)
}

output "interval" {
  description = "The interval of the schedule"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "Interval", null)
}

output "schedule_state" {
  description = "ENABLED or DISABLED, the state of the schedule"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "ScheduleState", null)
}

output "role_path" {
  description = "The path of the roles"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RolePath", null)
}

output "permissions_boundary_arn" {
  description = "The permissions boundary of the roles"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "PermissionsBoundaryArn", null)
}

output "memory_size" {
  description = "The function's memory"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "MemorySize", null)
}

output "architecture" {
  description = "The processor, arm64 or x86_64"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "Architecture", null)
}

output "requests_per_minute" {
  description = "The request budget"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RequestsPerMinute", null)
}

output "secret_arn" {
  description = "The secret that must hold {\"client_id\": \"...\", \"client_secret\": \"...\"}"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "SecretArn", null)
}

output "kms_key_arn" {
  description = "The KMS key of buckets and secret"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "KmsKeyArn", null)
}

output "state_kms_key_arn" {
  description = "The KMS key of the bucket for state"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "StateKmsKeyArn", null)
}

output "encryption_header" {
  description = "The encryption header of each write"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "EncryptionHeader", null)
}

output "use_fips_endpoints" {
  description = "true or false, whether AWS is called at its FIPS endpoints"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "UseFipsEndpoints", null)
}

output "failed_runs_queue_url" {
  description = "The URL of the queue of failed runs"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FailedRunsQueueUrl", null)
}

output "failed_runs_queue_name" {
  description = "The name of the queue of failed runs"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FailedRunsQueueName", null)
}

output "missed_ticks_queue_name" {
  description = "The name of the queue of ticks that never reached the function"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "MissedTicksQueueName", null)
}

output "notices_queue_arn" {
  description = "The ARN of the queue of notices of new objects"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesQueueArn", null)
}

output "notices_queue_url" {
  description = "The URL of the queue of notices of new objects"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesQueueUrl", null)
}

output "notices_queue_name" {
  description = "The name of the queue of notices of new objects"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesQueueName", null)
}

output "unread_notices_queue_name" {
  description = "The name of the queue of notices that the SIEM took ten times and never finished"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "UnreadNoticesQueueName", null)
}

output "notices_topic_arn" {
  description = "The topic of notices of new objects, for a SIEM to subscribe to"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesTopicArn", null)
}

output "log_group_name" {
  description = "The log group of both functions"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "LogGroupName", null)
}
