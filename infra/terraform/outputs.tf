# The outputs of ../../template.yaml by Terraform's names. What the stack doesn't have is null.

output "base_url" {
  description = "The tenant's API"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "BaseUrl", null)
}

output "function_name" {
  description = "The function, to invoke by hand"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FunctionName", null)
}

output "function_arn" {
  description = "The function's ARN"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FunctionArn", null)
}

output "backfiller_name" {
  description = "The function of a backfill, to invoke by hand"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "BackfillerName", null)
}

output "backfiller_arn" {
  description = "Its ARN"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "BackfillerArn", null)
}

output "role_arn" {
  description = "The functions' role, for the policies of an existing bucket and its key"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RoleArn", null)
}

output "records_bucket_name" {
  description = "Where the records are"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RecordsBucketName", null)
}

output "state_bucket_name" {
  description = "Where checkpoint and state are"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "StateBucketName", null)
}

output "s3_prefix" {
  description = "Below which the records are"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "S3Prefix", null)
}

output "streams" {
  description = "The streams that are collected"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "Streams", null)
}

output "interval" {
  description = "How often the collector runs"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "Interval", null)
}

output "schedule_state" {
  description = "Whether it does"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "ScheduleState", null)
}

output "role_path" {
  description = "The path of the roles"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "RolePath", null)
}

output "permissions_boundary_arn" {
  description = "What bounds the roles"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "PermissionsBoundaryArn", null)
}

output "memory_size" {
  description = "The function's memory"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "MemorySize", null)
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
  description = "The key of buckets and secret"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "KmsKeyArn", null)
}

output "failed_runs_queue_url" {
  description = "Where failed runs are reported"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FailedRunsQueueUrl", null)
}

output "failed_runs_queue_name" {
  description = "The same, by name"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "FailedRunsQueueName", null)
}

output "missed_ticks_queue_name" {
  description = "Where ticks are reported that never reached the function"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "MissedTicksQueueName", null)
}

output "notices_queue_arn" {
  description = "Where a SIEM is told of new objects"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesQueueArn", null)
}

output "notices_queue_url" {
  description = "The same, by URL"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesQueueUrl", null)
}

output "notices_queue_name" {
  description = "The same, by name"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesQueueName", null)
}

output "unread_notices_queue_name" {
  description = "Notices that the SIEM took ten times and never finished"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "UnreadNoticesQueueName", null)
}

output "notices_topic_arn" {
  description = "Where a SIEM subscribes to be told of new objects"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "NoticesTopicArn", null)
}

output "log_group_name" {
  description = "Where the collector logs"
  value       = lookup(aws_cloudformation_stack.collector.outputs, "LogGroupName", null)
}
