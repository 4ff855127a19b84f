# The same template as everywhere else. It is more than CloudFormation takes as text (51,200 bytes), so it goes to the bucket
# of the zip, under a name that changes with it.

locals {
  template = "${path.module}/../../template.yaml"
}

data "aws_s3_bucket" "code" {
  bucket = var.code_bucket
}

resource "aws_s3_object" "template" {
  bucket       = var.code_bucket
  key          = "incydr-collector/template-${filesha256(local.template)}.yaml"
  source       = local.template
  content_type = "application/yaml"
}

resource "aws_cloudformation_stack" "collector" {
  name         = var.stack_name
  template_url = "https://${data.aws_s3_bucket.code.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM"]
  tags         = var.tags

  parameters = {
    BaseUrl                  = var.base_url
    SecretArn                = var.secret_arn
    KmsKeyArn                = var.kms_key_arn
    SecretKmsKeyArn          = var.secret_kms_key_arn
    StateKmsKeyArn           = var.state_kms_key_arn
    EncryptionHeader         = var.encryption_header
    CodeBucket               = var.code_bucket
    CodeKey                  = var.code_key
    CodeVersion              = var.code_version
    PermissionsBoundaryArn   = var.permissions_boundary_arn
    RolePath                 = var.role_path
    UseFipsEndpoints         = var.use_fips_endpoints
    Interval                 = var.interval
    ScheduleState            = var.schedule_state
    Streams                  = var.streams
    RecordsBucketName        = var.records_bucket_name
    BucketOwner              = var.bucket_owner
    StateBucketName          = var.state_bucket_name
    ObjectLockDays           = var.object_lock_days
    ObjectLockMode           = var.object_lock_mode
    ColderAfterDays          = var.colder_after_days
    ColderClass              = var.colder_class
    ExpireAfterDays          = var.expire_after_days
    S3Prefix                 = var.s3_prefix
    StatePrefix              = var.state_prefix
    ReplayPrefix             = var.replay_prefix
    SettleSeconds            = var.settle_seconds
    SessionsRescanHours      = var.sessions_rescan_hours
    InventoryIntervalMinutes = var.inventory_interval_minutes
    VolatileFields           = var.volatile_fields
    ReconcileMinutes         = var.reconcile_minutes
    LookbackMinutes          = var.lookback_minutes
    FileEventQuery           = var.file_event_query
    FileEventPageSize        = var.file_event_page_size
    FileEventsRetentionDays  = var.file_events_retention_days
    AuditSource              = var.audit_source
    ApiDialect               = var.api_dialect
    Fields                   = var.fields
    FieldsInRecords          = var.fields_in_records
    StaleAgentDays           = var.stale_agent_days
    MinimumAgentVersion      = var.minimum_agent_version
    RequestsPerMinute        = var.requests_per_minute
    LogLevel                 = var.log_level
    LogRetentionDays         = var.log_retention_days
    Timeout                  = var.timeout
    MemorySize               = var.memory_size
    Architecture             = var.architecture
    ReservedConcurrency      = var.reserved_concurrency
    SubnetIds                = join(",", var.subnet_ids)
    SecurityGroupIds         = join(",", var.security_group_ids)
    ProxyUrl                 = var.proxy_url
    NoProxy                  = var.no_proxy
    CaBundleLayerArn         = var.ca_bundle_layer_arn
    Notify                   = var.notify
  }
}
