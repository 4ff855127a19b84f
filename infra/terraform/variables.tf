# The parameters of ../../template.yaml by Terraform's names, with the same defaults and limits: make template holds the two
# together. Only the zip must be named, for Terraform builds none.

variable "stack_name" {
  description = "The name of the CloudFormation stack. The names of its resources begin with it."
  type        = string
  default     = "incydr-collector"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,127}$", var.stack_name))
    error_message = "stack_name must begin with a letter, and hold letters, digits and hyphens, 128 at most."
  }
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation puts on all that it makes."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "base_url" {
  description = "The tenant's API, https://api.<region>.code42.com (us, us2, ie, gov, ...)."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https://api\\.[a-z0-9-]+\\.code42\\.com$", var.base_url))
    error_message = "base_url must be https://api.<region>.code42.com, without a path or a slash at the end."
  }
}

variable "secret_arn" {
  description = "Full ARN, with its random suffix, of a secret that holds {\"client_id\": \"...\", \"client_secret\": \"...\"}. Empty creates an empty secret. Fill it after the deployment."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}$", var.secret_arn))
    error_message = "secret_arn must be empty or the full ARN of a secret, with the six characters that Secrets Manager appends."
  }
}

variable "kms_key_arn" {
  description = "ARN of a KMS key that encrypts the buckets and the secret. The key's policy must leave access to IAM. CREATE creates a key. Empty means S3's own encryption (AES-256) and aws/secretsmanager."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^CREATE$|^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be empty, CREATE, or the ARN of a key (not of an alias)."
  }
}

variable "secret_kms_key_arn" {
  description = "ARN of the secret's own KMS key, if it is not KmsKeyArn. The function may only decrypt with it."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.secret_kms_key_arn))
    error_message = "secret_kms_key_arn must be empty or the ARN of a key (not of an alias)."
  }
}

variable "state_kms_key_arn" {
  description = "ARN of the KMS key of the bucket for state, if it is not KmsKeyArn."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.state_kms_key_arn))
    error_message = "state_kms_key_arn must be empty or the ARN of a key (not of an alias)."
  }
}

variable "encryption_header" {
  description = "The encryption header of each write, if a bucket policy demands one. AES256, or aws:kms with KmsKeyArn and StateKmsKeyArn. Empty sends no header, and each bucket encrypts by its default."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = contains(["", "AES256", "aws:kms"], var.encryption_header)
    error_message = "encryption_header must be one of \"\", AES256, aws:kms."
  }
}

variable "code_bucket" {
  description = "A bucket in this region that holds a release's zip. Leave it empty for sam build, which fills in what it built."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^$|^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.code_bucket))
    error_message = "code_bucket must be empty or a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit first and last."
  }

  validation {
    condition     = var.code_bucket != ""
    error_message = "code_bucket must be given: Terraform builds no zip."
  }
}

variable "code_key" {
  description = "The key of the zip in CodeBucket. The zip must be built for Architecture."
  type        = string
  nullable    = false

  validation {
    condition     = length(var.code_key) <= 1024
    error_message = "code_key must have at most 1024 characters."
  }

  validation {
    condition     = var.code_key != ""
    error_message = "code_key must be given: Terraform builds no zip."
  }
}

variable "code_version" {
  description = "The version of the zip's object, if CodeBucket has versions. Empty takes the newest."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = length(var.code_version) <= 1024
    error_message = "code_version must have at most 1024 characters."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the permissions boundary of every role that this stack creates, if the account demands one."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9/_+=,.@-]+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be empty or the ARN of a managed policy."
  }
}

variable "role_path" {
  description = "The path of every role that this stack creates, if the account demands one."
  type        = string
  default     = "/"
  nullable    = false

  validation {
    condition     = can(regex("^/([A-Za-z0-9_+=,.@-]+/)*$", var.role_path)) && length(var.role_path) <= 512
    error_message = "role_path must begin and end in a slash."
  }
}

variable "use_fips_endpoints" {
  description = "true calls AWS at its FIPS endpoints. They exist in the US, Canada and GovCloud."
  type        = bool
  default     = false
  nullable    = false
}

variable "interval" {
  description = "How often the collector runs."
  type        = string
  default     = "5-minutes"
  nullable    = false

  validation {
    condition     = contains(["5-minutes", "10-minutes", "15-minutes", "30-minutes", "1-hour", "6-hours", "12-hours", "1-day"], var.interval)
    error_message = "interval must be one of 5-minutes, 10-minutes, 15-minutes, 30-minutes, 1-hour, 6-hours, 12-hours, 1-day."
  }
}

variable "schedule_state" {
  description = "DISABLED deploys without collecting, for example until the secret is filled."
  type        = string
  default     = "ENABLED"
  nullable    = false

  validation {
    condition     = contains(["ENABLED", "DISABLED"], var.schedule_state)
    error_message = "schedule_state must be one of ENABLED, DISABLED."
  }
}

variable "streams" {
  description = "All streams to collect, separated by commas without blanks. The list replaces the default. To add a stream, give the API client its permission, then name it behind the others, as in audit,file_events,sessions,cases,users,agents,devices. The collector refuses an unknown name."
  type        = string
  default     = "audit,file_events,sessions,cases,users,agents"
  nullable    = false

  validation {
    condition     = can(regex("^((file_events|audit|sessions|cases|users|agents|devices|actors|departments|directory_groups|trusted_activities|roles|orgs|risk_indicator_categories|customer|saved_searches|alert_rules|watchlists|legal_hold|case_file_events|session_events|user_roles|actor_profiles|environment_health|alerts)(,\\b|$))+$", var.streams))
    error_message = "streams must be names of streams separated by commas, without blanks: file_events, audit, sessions, cases, users, agents, devices, actors, departments, directory_groups, trusted_activities, roles, orgs, risk_indicator_categories, customer, saved_searches, alert_rules, watchlists, legal_hold, case_file_events, session_events, user_roles, actor_profiles, environment_health."
  }
}

variable "records_bucket_name" {
  description = "An existing bucket for the records. The stack changes nothing of it. Empty creates one."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.records_bucket_name))
    error_message = "records_bucket_name must be empty or a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit first and last."
  }
}

variable "bucket_owner" {
  description = "The account that must own the buckets, if it is another one. RecordsBucketName must then name an existing bucket. Empty means this account."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[0-9]{12}$", var.bucket_owner))
    error_message = "bucket_owner must be empty or the 12 digits of an AWS account."
  }
}

variable "state_bucket_name" {
  description = "An existing bucket for the checkpoint and other state. CREATE creates one. Empty puts state beside the records, or into a bucket that is created if the records are locked."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^CREATE$|^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.state_bucket_name))
    error_message = "state_bucket_name must be empty, CREATE, or a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit first and last."
  }
}

variable "object_lock_days" {
  description = "Days for which nobody may delete a record (S3 Object Lock). 0 means none. Choose it with the first deployment."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.object_lock_days >= 0 && var.object_lock_days <= 36500
    error_message = "object_lock_days must be 0 to 36500."
  }
}

variable "object_lock_mode" {
  description = "COMPLIANCE binds the account's root user too. Nobody can take it back."
  type        = string
  default     = "GOVERNANCE"
  nullable    = false

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.object_lock_mode)
    error_message = "object_lock_mode must be one of GOVERNANCE, COMPLIANCE."
  }
}

variable "colder_after_days" {
  description = "Days after which records move to ColderClass. 0 means never. STANDARD_IA takes 30 or more."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.colder_after_days >= 0 && var.colder_after_days <= 36500
    error_message = "colder_after_days must be 0 to 36500."
  }
}

variable "colder_class" {
  description = "The storage class for older records. All of these can be read at once, as verify does."
  type        = string
  default     = "GLACIER_IR"
  nullable    = false

  validation {
    condition     = contains(["STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR"], var.colder_class)
    error_message = "colder_class must be one of STANDARD_IA, INTELLIGENT_TIERING, GLACIER_IR."
  }
}

variable "expire_after_days" {
  description = "Days after which S3 deletes records. 0 means never. It must be longer than ColderAfterDays and ObjectLockDays."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.expire_after_days >= 0 && var.expire_after_days <= 36500
    error_message = "expire_after_days must be 0 to 36500."
  }
}

variable "s3_prefix" {
  description = "The prefix of the records in the bucket. State lies outside of it, under StatePrefix."
  type        = string
  default     = "code42/"
  nullable    = false

  validation {
    condition     = !startswith(var.s3_prefix, "incydr-collector/") && can(regex("^([A-Za-z0-9_=.-]+/)+$", var.s3_prefix)) && length(var.s3_prefix) <= 200
    error_message = "s3_prefix must end in a slash, hold only letters, digits and _ = . - /, and not begin with incydr-collector/."
  }
}

variable "state_prefix" {
  description = "The prefix of checkpoint.json and other state. It lies outside of S3Prefix and ReplayPrefix."
  type        = string
  default     = "incydr-collector/"
  nullable    = false

  validation {
    condition     = can(regex("^([A-Za-z0-9_=.-]+/)+$", var.state_prefix)) && length(var.state_prefix) <= 200
    error_message = "state_prefix must end in a slash and hold only letters, digits and _ = . - /."
  }
}

variable "replay_prefix" {
  description = "The prefix below which the function may write replays and health reports. It stays empty until somebody asks for one."
  type        = string
  default     = "code42-replay/"
  nullable    = false

  validation {
    condition     = !startswith(var.replay_prefix, "incydr-collector/") && can(regex("^([A-Za-z0-9_=.-]+/)+$", var.replay_prefix))
    error_message = "replay_prefix must end in a slash, hold only letters, digits and _ = . - /, and not begin with incydr-collector/."
  }
}

variable "settle_seconds" {
  description = "Seconds between now and the latest end of a window, because records become visible late. One number holds for both streams."
  type        = string
  default     = "file_events=120,audit=330"
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{1,5}$|^(file_events|audit)=[0-9]{1,5}(,(file_events|audit)=[0-9]{1,5})?$", var.settle_seconds))
    error_message = "settle_seconds must be seconds, or seconds by stream such as file_events=120,audit=330."
  }
}

variable "sessions_rescan_hours" {
  description = "Hours for which sessions are read again for changes, by the time at which they began."
  type        = number
  default     = 72
  nullable    = false

  validation {
    condition     = var.sessions_rescan_hours >= 1 && var.sessions_rescan_hours <= 2160
    error_message = "sessions_rescan_hours must be 1 to 2160."
  }
}

variable "inventory_interval_minutes" {
  description = "Minutes between two readings of users, agents and the other inventories. 0 means every run. 90 days at most."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.inventory_interval_minutes >= 0 && var.inventory_interval_minutes <= 129600
    error_message = "inventory_interval_minutes must be 0 to 129600."
  }
}

variable "volatile_fields" {
  description = "Fields that only say that a record was seen again. A change of these alone is stored once a day. Empty means none."
  type        = string
  default     = "agents.lastConnected,devices.lastConnected"
  nullable    = false

  validation {
    condition     = can(regex("^$|^[a-z_]+(\\.[^.,\\s]+)+(,[a-z_]+(\\.[^.,\\s]+)+)*$", var.volatile_fields)) && length(var.volatile_fields) <= 250
    error_message = "volatile_fields must be <stream>.<field> separated by commas, without spaces, or empty; 250 characters at most."
  }
}

variable "reconcile_minutes" {
  description = "Minutes after which a covered window is counted once more, separated by commas. Empty means never."
  type        = string
  default     = "60,1440"
  nullable    = false

  validation {
    condition     = can(regex("^$|^[0-9]{1,6}(,[0-9]{1,6})*$", var.reconcile_minutes))
    error_message = "reconcile_minutes must be whole numbers separated by commas, without spaces, or empty."
  }
}

variable "lookback_minutes" {
  description = "Minutes before the first attempted run at which file_events and audit begin. Incydr keeps audit events for 90 days."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.lookback_minutes >= 1 && var.lookback_minutes <= 129600
    error_message = "lookback_minutes must be 1 to 129600."
  }
}

variable "file_event_query" {
  description = "A file-event query in JSON, with groups and groupClause only, to collect fewer than all events; or {\"savedSearch\": \"<id>\"} for a search that is saved in the console. Empty collects all."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = length(var.file_event_query) <= 1200
    error_message = "file_event_query must have at most 1200 characters."
  }
}

variable "file_event_page_size" {
  description = "File events in one request. 10000 suits a large tenant."
  type        = number
  default     = 5000
  nullable    = false

  validation {
    condition     = var.file_event_page_size >= 1 && var.file_event_page_size <= 10000
    error_message = "file_event_page_size must be 1 to 10000."
  }
}

variable "file_events_retention_days" {
  description = "Days for which the tenant's plan keeps file events. An older span in which the API shows none is reported as expired."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.file_events_retention_days >= 1 && var.file_events_retention_days <= 3650
    error_message = "file_events_retention_days must be 1 to 3650."
  }
}

variable "audit_source" {
  description = "The endpoint that reads the audit log. search reads a window page by page. export reads it in one answer, if make probe says that the API has it."
  type        = string
  default     = "search"
  nullable    = false

  validation {
    condition     = contains(["search", "export"], var.audit_source)
    error_message = "audit_source must be one of search, export."
  }
}

variable "api_dialect" {
  description = "sdk uses the endpoints of the vendor's SDK. guide uses those of the Google SecOps guide, which has audit, file_events, cases and users only. Give these as Streams."
  type        = string
  default     = "sdk"
  nullable    = false

  validation {
    condition     = contains(["sdk", "guide"], var.api_dialect)
    error_message = "api_dialect must be one of sdk, guide."
  }
}

variable "fields" {
  description = "A JSON object of strings that each object in S3 gets as metadata, such as {\"env\": \"prod\"}."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = length(var.fields) <= 1000
    error_message = "fields must have at most 1000 characters."
  }
}

variable "fields_in_records" {
  description = "true adds Fields to each record, as its last member _fields."
  type        = bool
  default     = false
  nullable    = false
}

variable "stale_agent_days" {
  description = "Days without a connection after which an agent is stale."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.stale_agent_days >= 1 && var.stale_agent_days <= 3650
    error_message = "stale_agent_days must be 1 to 3650."
  }
}

variable "minimum_agent_version" {
  description = "An agent below this version, such as 1.10.2, is outdated. Empty compares agents with each other only."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[0-9]+(\\.[0-9]+)*$", var.minimum_agent_version))
    error_message = "minimum_agent_version must be empty or numbers separated by dots."
  }
}

variable "requests_per_minute" {
  description = "The request budget. Incydr allows a tenant 120 requests a minute, shared by all its clients."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.requests_per_minute >= 3 && var.requests_per_minute <= 120
    error_message = "requests_per_minute must be 3 to 120."
  }
}

variable "log_level" {
  description = "The lowest level that is logged."
  type        = string
  default     = "INFO"
  nullable    = false

  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"], var.log_level)
    error_message = "log_level must be one of TRACE, DEBUG, INFO, WARN, ERROR."
  }
}

variable "log_retention_days" {
  description = "Days for which the logs are kept."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "timeout" {
  description = "Seconds that a run may take. The next run does what doesn't fit. Keep it shorter than Interval (5 minutes are 300)."
  type        = number
  default     = 240
  nullable    = false

  validation {
    condition     = var.timeout >= 10 && var.timeout <= 900
    error_message = "timeout must be 10 to 900."
  }
}

variable "memory_size" {
  description = "MB of memory. Lambda gives CPU in proportion, and compressing needs CPU."
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240
    error_message = "memory_size must be 128 to 10240."
  }
}

variable "architecture" {
  description = "The processor. It must be the one that the zip was built for."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be one of arm64, x86_64."
  }
}

variable "reserved_concurrency" {
  description = "Concurrent runs that are reserved for the function. 0 reserves none; the lease keeps runs apart in any case. Otherwise 2 or more. AWS keeps 100 for all other functions, and a new account often has just 10."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.reserved_concurrency >= 0 && var.reserved_concurrency <= 10
    error_message = "reserved_concurrency must be 0 to 10."
  }
}

variable "subnet_ids" {
  description = "Private subnets for the function, separated by commas. They need a way to the Internet for the API. Empty means no VPC."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "security_group_ids" {
  description = "Security groups for the function, separated by commas. At least one if SubnetIds are given."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "proxy_url" {
  description = "http://<host>:<port> of the proxy to the Internet, if there is one. Without a password."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", var.proxy_url))
    error_message = "proxy_url must be empty or http://<host>:<port>, or the same with https."
  }
}

variable "no_proxy" {
  description = "Hosts that are called without the proxy, separated by commas, such as .amazonaws.com for VPC endpoints."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[A-Za-z0-9.:*-]+(,[A-Za-z0-9.:*-]+)*$", var.no_proxy))
    error_message = "no_proxy must be hosts separated by commas, without spaces."
  }
}

variable "ca_bundle_layer_arn" {
  description = "ARN of a layer version that holds ca.pem, with further certificate authorities, for a proxy that opens TLS."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:layer:[A-Za-z0-9_-]+:[0-9]+$", var.ca_bundle_layer_arn))
    error_message = "ca_bundle_layer_arn must be empty or the ARN of a layer's version."
  }
}

variable "notify" {
  description = "The receiver of a notice for each new object below S3Prefix: a queue (SQS), a topic (SNS), or a queue by way of EventBridge. For an existing bucket the queue or topic is created, and you add the bucket's notification."
  type        = string
  default     = "NONE"
  nullable    = false

  validation {
    condition     = contains(["NONE", "SQS", "SNS", "EVENTBRIDGE"], var.notify)
    error_message = "notify must be one of NONE, SQS, SNS, EVENTBRIDGE."
  }
}
