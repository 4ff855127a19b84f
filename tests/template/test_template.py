"""The template agrees with the code: it sets the variables that the code reads, and allows the calls that the code
makes."""

import json
import re
import sys

import botocore.session
import pytest
import tomlkit
from botocore import xform_name
from policy import is_allowed
from rendered import ROOT, TEMPLATE, Rendered, listed, source, statements

sys.path.append(str(ROOT / "infra"))
import parameters  # noqa: E402  (what make deploy and make doctor read the template with)

# Calls whose right has another name.
ACTION_OF_CALL = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}

ACTIONS_WITHOUT_A_CALL = {
    "s3:ListBucket",  # a missing key answers 403 without it
    "logs:CreateLogStream",  # Lambda itself, under the function's role
    "logs:PutLogEvents",
    "sqs:SendMessage",
}

KEY_ACTIONS = {"kms:Decrypt", "kms:GenerateDataKey"}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234"
SECRET_KEY = f"{KEY}-secret"
STATE_KEY = f"{KEY}-state"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:incydr-AbCdEf"

# Every way in which a stack's resources can differ.
VARIANTS = {
    "as it is": {},
    "own key": {"KmsKeyArn": "CREATE"},
    "existing key and secret": {"KmsKeyArn": KEY, "SecretArn": SECRET},
    "existing bucket": {"RecordsBucketName": "records"},
    "another's buckets": {"RecordsBucketName": "records", "StateBucketName": "state", "BucketOwner": "210987654321"},
    "locked": {"ObjectLockDays": 365, "ColderAfterDays": 90, "ExpireAfterDays": 400},
    "state apart": {"StateBucketName": "CREATE", "StatePrefix": "state/", "S3Prefix": "siem/incydr/"},
    "in a VPC": {"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1", "ProxyUrl": "http://proxy:3128"},
    "queue": {"Notify": "SQS"},
    "topic": {"Notify": "SNS"},
    "EventBridge": {"Notify": "EVENTBRIDGE"},
    "reserved concurrency": {"ReservedConcurrency": 2, "Architecture": "x86_64"},
    "a key for each": {"KmsKeyArn": KEY, "SecretKmsKeyArn": SECRET_KEY, "StateKmsKeyArn": STATE_KEY, "StateBucketName": "CREATE"},
    "encryption asked for": {
        "KmsKeyArn": KEY, "StateKmsKeyArn": STATE_KEY, "StateBucketName": "CREATE", "EncryptionHeader": "aws:kms",
    },
    "AES256 asked for": {"SecretKmsKeyArn": SECRET_KEY, "EncryptionHeader": "AES256"},
    "a release's zip": {"CodeBucket": "releases", "CodeKey": "incydr-collector.zip", "CodeVersion": "3"},
    "bounded": {"PermissionsBoundaryArn": BOUNDARY, "RolePath": "/siem/"},
    "FIPS": {"UseFipsEndpoints": "true"},
    "own authority": {"CaBundleLayerArn": "arn:aws:lambda:us-east-1:123456789012:layer:ca:1"},
}

# Variables that the AWS SDK reads.
CLIENTS_OWN = {"AWS_USE_FIPS_ENDPOINT"}
# Settings that no stack needs, because their defaults suit everybody.
NOT_OFFERED = {"PAGE_SIZE", "AUDIT_PAGE_SIZE", "GZIP_LEVEL"}
# Defaults that the code writes in another form.
DEFAULT_ELSEWHERE = {
    "SETTLE_SECONDS": ("file_events=120,audit=330", "Settle { file_events: TimeDelta::seconds(120), audit: TimeDelta::seconds(330) }"),
    "FE_PAGE_SIZE": ("5000", '"FE_PAGE_SIZE", 5_000,'),
    "INCYDR_API_DIALECT": ("sdk", 'None | Some("sdk") => Ok(Dialect::Sdk)'),
    "FIELDS_IN_RECORDS": ("false", 'None | Some("false") => false'),
}


@pytest.fixture(scope="module")
def template():
    return source()


@pytest.fixture(scope="module")
def deployed(template):
    """The resources with the default parameters."""
    return Rendered(template).resources


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request, template):
    return Rendered(template, **VARIANTS[request.param])


def allows(role):
    return [statement for statement in statements(role) if statement["Effect"] == "Allow"]


def actions(role):
    return {action for statement in allows(role) for action in listed(statement["Action"])}


def allowing(role, action):
    """The statements that allow the action."""
    return [statement for statement in allows(role) if action in listed(statement["Action"])]


def roles(resources):
    return {name: resource for name, resource in resources.items() if resource["Type"] == "AWS::IAM::Role"}


def variables(rendered):
    return rendered.resources["Collector"]["Properties"]["Environment"]["Variables"]


def production_code(path):
    """A Rust file without comment lines and without its tests, which are at its end."""
    code = path.read_text("utf-8").split("#[cfg(test)]\nmod ")[0]
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("//"))


def code_below(*names):
    sources = [path for name in names for path in (ROOT / "src").glob(name)]
    return "\n".join(production_code(path) for path in sorted(sources))


def settings_code():
    return code_below("core/settings.rs", "core/settings/**/*.rs", "core/proxies.rs")


def actions_called():
    """The right for each call of an AWS client in the code: `.get_object()` needs s3:GetObject."""
    called = set(re.findall(r"\.(\w+)\(\)", code_below("**/*.rs")))
    session = botocore.session.get_session()
    needed = set()
    for service in ["s3", "secretsmanager"]:
        for operation in session.get_service_model(service).operation_names:
            if xform_name(operation) in called:
                action = f"{service}:{operation}"
                needed.add(ACTION_OF_CALL.get(action, action))
    return needed


def default_in_code(variable, value):
    """Whether the settings use this value if the variable is absent."""
    return re.search(rf'"{variable}"[^"]*"?{re.escape(str(value))}["),]', settings_code())


def test_every_variable_that_is_set_is_one_the_settings_read(variant):
    read = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', settings_code())) | CLIENTS_OWN
    assert set(variables(variant)) - read == set()


def test_every_setting_can_be_set(template):
    offered = {name for parameters in VARIANTS.values() for name in variables(Rendered(template, **parameters))}
    read = set(re.findall(r'(?:required|or|get|number)\(\s*"([A-Z][A-Z0-9_]+)"', settings_code()))
    assert read - offered == NOT_OFFERED


def test_every_required_setting_is_set(variant):
    required = set(re.findall(r'required\(\s*"(\w+)"', settings_code()))
    assert required >= {"INCYDR_BASE_URL", "INCYDR_SECRET_ID", "S3_BUCKET"}
    assert required - set(variables(variant)) == set()


def test_every_default_is_the_one_of_the_settings(template):
    set_by_the_stack = {"INCYDR_BASE_URL", "INCYDR_SECRET_ID", "S3_BUCKET", "S3_BUCKET_OWNER"}
    for variable, value in variables(Rendered(template)).items():
        # It has no default, or an empty one, which counts as absent.
        if not value or variable in set_by_the_stack | set(DEFAULT_ELSEWHERE):
            continue
        assert default_in_code(variable, value), f"{variable}={value}"
    for variable, (value, in_code) in DEFAULT_ELSEWHERE.items():
        assert str(variables(Rendered(template))[variable]) == value
        assert in_code in settings_code()


def test_all_variables_together_are_no_more_than_lambda_takes(template):
    longest = {
        name: "x" * facts.get("MaxLength", 0)
        for name, facts in template["Parameters"].items()
        if facts["Type"] == "String" and facts.get("MaxLength")
    }
    held = variables(Rendered(template, BaseUrl="https://api.gov.code42.com", **longest))
    # Buckets and secret have the greatest length, and all streams are enabled.
    rest = 63 * 2 + 200 + 300
    assert sum(len(name) + len(str(value)) for name, value in held.items()) + rest < 4096


def test_every_parameter_is_used(template):
    body = json.dumps([template["Conditions"], template["Resources"]])
    unused = [name for name in template["Parameters"] if not re.search(rf'"{name}"|\${{{name}}}', body)]
    assert unused == []


def test_the_log_level_is_handed_over_by_the_name_that_the_code_reads(template):
    assert template["Resources"]["Collector"]["Properties"]["LoggingConfig"]["ApplicationLogLevel"]
    assert "AWS_LAMBDA_LOG_LEVEL" in code_below("**/*.rs")


def test_the_binary_is_one_that_the_package_builds(template):
    manifest = tomlkit.parse((ROOT / "Cargo.toml").read_text("utf-8"))
    binaries = [binary["name"] for binary in manifest.get("bin", [])] or [manifest["package"]["name"]]
    assert template["Resources"]["Collector"]["Properties"]["Handler"] == "bootstrap"
    live, backfiller = (template["Resources"][name]["Metadata"] for name in ["Collector", "Backfiller"])
    assert live["BuildProperties"]["Binary"] in binaries
    # Then `sam build` makes one zip for both.
    assert live == backfiller


def test_the_two_functions_differ_in_nothing_but_their_time_and_what_is_reserved(variant):
    live, backfiller = (variant.resources[name]["Properties"] for name in ["Collector", "Backfiller"])
    differ = {name for name in live | backfiller if live.get(name) != backfiller.get(name)}
    assert {"Description", "Timeout"} <= differ <= {"Description", "Timeout", "ReservedConcurrentExecutions"}
    # It takes nothing of the live function's share, and has Lambda's longest timeout.
    assert "ReservedConcurrentExecutions" not in backfiller
    assert backfiller["Timeout"] == 900
    assert live["Environment"]["Variables"] and live["LoggingConfig"]


def test_nothing_in_the_stack_starts_a_backfill(variant):
    others = [resource for name, resource in variant.resources.items() if name != "Backfiller"]
    assert not re.search(r"\bbackfiller\b", json.dumps(others))


def test_the_role_allows_exactly_what_the_code_calls(deployed):
    assert actions(deployed["CollectorRole"]) == actions_called() | ACTIONS_WITHOUT_A_CALL


@pytest.mark.parametrize("key, arn", [("CREATE", "arn:aws:kms:us-east-1:123456789012:key"), (KEY, KEY)])
def test_the_key_is_allowed_only_where_there_is_one(template, deployed, key, arn):
    role = Rendered(template, KmsKeyArn=key).resources["CollectorRole"]
    assert actions(role) - actions(deployed["CollectorRole"]) == KEY_ACTIONS
    (statement,) = allowing(role, "kms:Decrypt")
    assert statement["Resource"] == arn


def test_nothing_may_be_deleted_and_no_right_is_a_wildcard(variant):
    for role in roles(variant.resources).values():
        assert "ManagedPolicyArns" not in role["Properties"]
        for statement in allows(role):
            assert {"NotAction", "NotResource"}.isdisjoint(statement)
            if statement.get("Sid") == "NetworkInterfaces":
                continue
            for action in listed(statement["Action"]):
                assert "*" not in action and "delete" not in action.lower()
            for resource in listed(statement["Resource"]):
                assert not resource.startswith(("*", "arn:aws:s3:::*", "arn:aws:s3:::/"))


def test_network_interfaces_are_lambdas_own_and_not_the_codes(template, deployed):
    in_vpc = Rendered(template, **VARIANTS["in a VPC"]).resources["CollectorRole"]
    (allowed,) = allowing(in_vpc, "ec2:CreateNetworkInterface")
    assert actions(in_vpc) - actions(deployed["CollectorRole"]) == set(allowed["Action"])
    (denied,) = [statement for statement in statements(in_vpc) if statement["Effect"] == "Deny"]
    assert (denied["Action"], denied["Condition"]) == ("ec2:*", {"Null": {"lambda:SourceFunctionArn": "false"}})


def test_only_records_replays_and_state_are_read_and_written(variant):
    role, held = variant.resources["CollectorRole"], variables(variant)
    records, state = held["S3_BUCKET"], held["STATE_BUCKET"] or held["S3_BUCKET"]
    objects = {
        f"arn:aws:s3:::{records}/{held['S3_PREFIX']}*",
        f"arn:aws:s3:::{records}/{variant.values['ReplayPrefix']}*",
        f"arn:aws:s3:::{state}/{variant.values['StatePrefix']}*",
    }
    for action in ["s3:GetObject", "s3:PutObject"]:
        allowed = {resource for found in allowing(role, action) for resource in listed(found["Resource"])}
        assert allowed == objects
    assert held["CHECKPOINT_KEY"].startswith(variant.values["StatePrefix"])


def test_a_record_may_only_be_created(variant):
    state = f"/{variant.values['StatePrefix']}*"
    for statement in allowing(variant.resources["CollectorRole"], "s3:PutObject"):
        is_state = all(resource.endswith(state) for resource in listed(statement["Resource"]))
        assert is_state or statement["Condition"] == {"Null": {"s3:if-none-match": "false"}}


def test_the_buckets_are_listed_only_below_their_prefixes(variant):
    held = variables(variant)
    records, state = held["S3_BUCKET"], held["STATE_BUCKET"] or held["S3_BUCKET"]
    listing = {
        (statement["Resource"], prefix)
        for statement in allowing(variant.resources["CollectorRole"], "s3:ListBucket")
        for prefix in listed(statement["Condition"]["StringLike"]["s3:prefix"])
    }
    assert listing == {
        (f"arn:aws:s3:::{records}", f"{held['S3_PREFIX']}*"),
        (f"arn:aws:s3:::{records}", f"{variant.values['ReplayPrefix']}*"),
        (f"arn:aws:s3:::{state}", f"{variant.values['StatePrefix']}*"),
    }


def test_the_one_secret_that_is_read_is_the_one_that_is_set(variant):
    (statement,) = allowing(variant.resources["CollectorRole"], "secretsmanager:GetSecretValue")
    assert statement["Resource"] == variables(variant)["INCYDR_SECRET_ID"]


def test_the_owner_of_the_buckets_is_checked(template):
    assert variables(Rendered(template))["S3_BUCKET_OWNER"] == "123456789012"
    assert variables(Rendered(template, **VARIANTS["another's buckets"]))["S3_BUCKET_OWNER"] == "210987654321"


@pytest.mark.parametrize(
    "parameters",
    [
        {"BucketOwner": "210987654321"},
        {"BucketOwner": "210987654321", "RecordsBucketName": "records", "StateBucketName": "CREATE"},
        {"RecordsBucketName": "records", "ObjectLockDays": 1},
        {"CodeBucket": "releases"},
        {"CodeKey": "incydr-collector.zip"},
        {"StateKmsKeyArn": KEY},
        {"EncryptionHeader": "AES256", "KmsKeyArn": KEY},
        {"EncryptionHeader": "AES256", "KmsKeyArn": "CREATE"},
        {"EncryptionHeader": "AES256", "StateKmsKeyArn": KEY, "StateBucketName": "state"},
    ],
)
def test_what_contradicts_itself_is_refused(template, parameters):
    assert Rendered(template, **parameters).refused_by_rules()


def test_what_does_not_is_not(variant):
    assert variant.refused_by_rules() == []


@pytest.mark.parametrize("how", ["locked", "state apart"])
def test_state_has_a_bucket_of_its_own_where_records_are_locked(template, how):
    rendered = Rendered(template, **VARIANTS[how])
    state = rendered.resources["StateBucket"]["Properties"]
    assert "ObjectLockConfiguration" not in state
    assert ("ObjectLockConfiguration" in rendered.resources["RecordsBucket"]["Properties"]) == (how == "locked")
    assert variables(rendered)["STATE_BUCKET"] == rendered.outputs["StateBucketName"] == "statebucket"


def test_buckets_are_closed_encrypted_versioned_and_swept(variant):
    for name, resource in variant.resources.items():
        if resource["Type"] != "AWS::S3::Bucket":
            continue
        bucket = resource["Properties"]
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        has_key = bool(variant.values["KmsKeyArn"]) or name == "StateBucket" and bool(variant.values["StateKmsKeyArn"])
        assert encryption.get("BucketKeyEnabled", False) == has_key
        assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == ("aws:kms" if has_key else "AES256")
        policy = variant.resources[f"{name}Policy"]["Properties"]["PolicyDocument"]["Statement"]
        assert [(rule["Sid"], rule["Effect"]) for rule in policy] == [("TlsOnly", "Deny")]
        assert "abort-incomplete-uploads" in {rule["Id"] for rule in bucket["LifecycleConfiguration"]["Rules"]}


def test_no_lifecycle_touches_what_the_checkpoint_or_a_manifest_names(variant):
    """Current objects expire only below S3Prefix, and only if that was chosen. Known records are the exception, because
    they are stored again each month."""
    known = f"{variant.values['StatePrefix']}known/"
    for resource in variant.resources.values():
        for rule in resource["Properties"].get("LifecycleConfiguration", {}).get("Rules", []):
            if rule.get("Prefix") == known:
                longest = source()["Parameters"]["InventoryIntervalMinutes"]["MaxValue"]
                assert rule["ExpirationInDays"] >= 180 >= 2 * longest / 1440
            elif "ExpirationInDays" in rule or "Transitions" in rule:
                assert rule["Prefix"] == variant.values["S3Prefix"]


@pytest.mark.parametrize("notify", ["SQS", "SNS", "EVENTBRIDGE"])
def test_new_records_are_told_and_nothing_else(template, notify):
    rendered = Rendered(template, Notify=notify, S3Prefix="siem/")
    told = rendered.resources["RecordsBucket"]["Properties"]["NotificationConfiguration"]
    if notify == "EVENTBRIDGE":
        assert told == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
        detail = rendered.resources["NewObjects"]["Properties"]["EventPattern"]["detail"]
        assert detail == {"bucket": {"name": ["recordsbucket"]}, "object": {"key": [{"prefix": "siem/"}]}}
        return
    ((kind, (configuration,)),) = told.items()
    assert kind == {"SQS": "QueueConfigurations", "SNS": "TopicConfigurations"}[notify]
    assert configuration["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "siem/"}]


def test_by_default_nobody_is_told(deployed):
    assert deployed["RecordsBucket"]["Properties"]["NotificationConfiguration"] == {}
    assert not any(name.startswith("Notices") for name in deployed)


def test_the_partition_is_never_written_out():
    assert not re.search(r"arn:aws[:-](?!\S*\[)", re.sub(r"AllowedPattern:.*", "", TEMPLATE.read_text("utf-8")))


@pytest.mark.parametrize("parameter", ["S3Prefix", "ReplayPrefix"])
@pytest.mark.parametrize("prefix", ["code42/", "siem/incydr/", "a=b/", "incydr-collector-records/"])
def test_a_prefix_is_taken(template, parameter, prefix):
    assert re.search(template["Parameters"][parameter]["AllowedPattern"], prefix)


@pytest.mark.parametrize("prefix", ["", "/", "code42", "*/", "a//b/", "${aws:username}/", "incydr-collector/", "incydr-collector/x/"])
@pytest.mark.parametrize("parameter", ["S3Prefix", "ReplayPrefix"])
def test_a_prefix_that_reaches_elsewhere_is_refused(template, parameter, prefix):
    assert not re.search(template["Parameters"][parameter]["AllowedPattern"], prefix)


def known_streams():
    code = (ROOT / "src" / "core" / "stream.rs").read_text("utf-8")
    return re.findall(r'^    [A-Z]\w+: "(\w+)", \w+, "', code, re.MULTILINE), re.findall(r'\("(\w+)", Stream::', code)


def test_streams_takes_the_names_that_the_code_knows_and_no_other(template):
    names, aliases = known_streams()
    facts = template["Parameters"]["Streams"]
    assert len(names) > 20 and re.search(r"\((\w+\|[\w|]+)\)", facts["AllowedPattern"])[1].split("|") == names + aliases
    told = facts["ConstraintDescription"]
    assert told.partition(": ")[2].split(", ") == names
    for taken in [",".join(names), "audit", "users,audit", facts["Default"]]:
        assert re.search(facts["AllowedPattern"], taken), taken
    for refused in ["", "audit,", ",audit", "audit,,users", "audit, users", "file_event", "auditusers", "Audit", "audit;users", "xaudit", "audit,x"]:
        assert not re.search(facts["AllowedPattern"], refused), refused


@pytest.mark.parametrize("path", [TEMPLATE, *sorted((ROOT / "infra").glob("*.yaml"))], ids=lambda path: path.name)
def test_make_deploy_and_doctor_read_each_parameter_as_cloudformation_does(path):
    """infra/parameters.py has no parser of YAML."""
    read = parameters.read(path)
    known = source(path)["Parameters"]
    assert list(read) == list(known)
    for name, facts in known.items():
        for key in ["Type", "Default", "AllowedPattern", "ConstraintDescription", "MinValue", "MaxValue", "MaxLength"]:
            assert read[name].get(key) == (" ".join(str(facts[key]).split()) if key in facts else None), (name, key)
        assert parameters.allowed(read[name]) == list(map(str, facts.get("AllowedValues", [])))
        if "Default" in facts:
            assert parameters.fault(str(facts["Default"]), read[name]) == "", name


def test_a_failed_run_is_reported_and_never_run_again(deployed, template):
    invocations = template["Resources"]["CollectorEventInvokeConfig"]["Properties"]
    assert invocations["MaximumRetryAttempts"] == 0
    assert invocations["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailedRuns", "Arn"]}
    target = schedule(deployed)["Target"]
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert target["DeadLetterConfig"] == {"Arn": "arn:aws:sqs:us-east-1:123456789012:missedticks"}


def test_the_schedule_sends_an_event_that_means_the_scheduled_work(deployed):
    assert json.loads(schedule(deployed)["Target"]["Input"]) == {"source": "aws.scheduler"}
    # A name would collide with a second stack's.
    assert "Name" not in schedule(deployed)


def test_the_schedule_may_start_this_function_and_report_what_it_missed_and_nothing_else(deployed):
    (role,) = [role for name, role in roles(deployed).items() if name != "CollectorRole"]
    assert {(statement["Action"], statement["Resource"]) for statement in statements(role)} == {
        ("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:123456789012:collector"),
        ("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:missedticks"),
    }


def schedule(resources):
    (schedule,) = [resource for resource in resources.values() if resource["Type"] == "AWS::Scheduler::Schedule"]
    return schedule["Properties"]


def minutes(rate):
    number, unit = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", rate).groups()
    return int(number) * {"minute": 1, "hour": 60, "day": 1440}[unit]


def test_by_default_a_run_ends_before_the_next_begins(template):
    shortest = min(minutes(facts["Rate"]) for facts in template["Mappings"]["Intervals"].values())
    assert template["Parameters"]["Timeout"]["Default"] < shortest * 60


@pytest.mark.parametrize("interval", source()["Parameters"]["Interval"]["AllowedValues"])
def test_each_interval_fits_what_the_collector_promises(template, interval):
    rendered = Rendered(template, Interval=interval)
    every = minutes(schedule(rendered.resources)["ScheduleExpression"])
    number, unit = interval.split("-")
    assert every == int(number) * {"minute": 1, "hour": 60, "day": 1440}[unit.rstrip("s")]

    # Retries end before the next scheduled run.
    (invocations,) = [it for it in rendered.resources.values() if it["Type"] == "AWS::Lambda::EventInvokeConfig"]
    assert 60 <= invocations["Properties"]["MaximumEventAgeInSeconds"] <= min(every * 60, 21600)
    assert schedule(rendered.resources)["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] <= every * 60

    held = variables(rendered)
    settle = [int(part.split("=")[1]) / 60 for part in held["SETTLE_SECONDS"].split(",")]
    # A session that changes is read again at least twice before it is too old.
    assert 2 * every <= held["SESSIONS_RESCAN_HOURS"] * 60
    # The longest delay of a record, if a run is missed, is far shorter than the warning before its expiry.
    kept = re.findall(r"retention: Some\(TimeDelta::days\((\d+)\)\)", code_below("incydr/facts/*.rs"))
    retention = min(map(int, [*kept, held["FILE_EVENTS_RETENTION_DAYS"]]))
    (warned,) = re.findall(r"EXPIRES_SOON: TimeDelta = TimeDelta::hours\((\d+)\)", code_below("actions/*.rs"))
    assert 2 * every + max(settle) < retention * 1440 - int(warned) * 60
    # A window is counted again after the last of these times, within the API's retention.
    assert max(map(int, held["RECONCILE_MINUTES"].split(","))) + every < retention * 1440


def test_records_secret_key_and_log_outlive_the_stack_but_not_a_first_deployment_that_failed(template):
    kept = {"RecordsBucket", "RecordsBucketPolicy", "StateBucket", "StateBucketPolicy", "IncydrSecret", "Key", "CollectorLogs"}
    for name, resource in template["Resources"].items():
        policies = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
        assert (policies == ("RetainExceptOnCreate", "Retain")) == (name in kept), name
        assert "Retain" != policies[0], name


def test_the_log_that_is_kept_is_in_no_later_stacks_way(deployed):
    assert deployed["CollectorLogs"]["Properties"]["LogGroupName"] == "/aws/lambda/incydr-1234567db123"


def test_by_default_no_concurrency_is_reserved(deployed):
    """A new account has a concurrency of 10 in all, and the last 100 can't be reserved."""
    assert "ReservedConcurrentExecutions" not in deployed["Collector"]["Properties"]


def test_the_rule_may_send_however_its_name_was_cut(template):
    resources = Rendered(template, Notify="EVENTBRIDGE").resources
    for policy in ["NoticesPolicy", "UnreadNoticesPolicy"]:
        statements = resources[policy]["Properties"]["PolicyDocument"]["Statement"]
        (allowed,) = [statement for statement in statements if statement["Effect"] == "Allow"]
        assert allowed["Principal"] == {"Service": "events.amazonaws.com"}

        def sends(rule):
            return is_allowed([allowed], "sqs:SendMessage", allowed["Resource"], {"aws:SourceArn": rule})

        # CloudFormation cuts a rule's name to 64 characters.
        assert sends(f"arn:aws:events:us-east-1:123456789012:rule/{'a-long-name-' * 3}NewObjects-1ABC")
        assert not sends("arn:aws:events:us-east-1:210987654321:rule/incydr-NewObjects-1ABC")
        assert not sends("arn:aws:events:eu-west-1:123456789012:rule/incydr-NewObjects-1ABC")


def test_each_key_may_be_used_for_its_own_and_no_more(template):
    rendered = Rendered(template, **VARIANTS["a key for each"])
    role = statements(rendered.resources["CollectorRole"])

    def may(action, key, service):
        return is_allowed(role, f"kms:{action}", key, {"kms:ViaService": f"{service}.us-east-1.amazonaws.com"})

    assert {
        (action, key, service)
        for action in ["Decrypt", "GenerateDataKey", "Encrypt", "CreateGrant"]
        for key in [KEY, SECRET_KEY, STATE_KEY]
        for service in ["s3", "secretsmanager", "lambda"]
        if may(action, key, service)
    } == {
        ("Decrypt", KEY, "s3"),
        ("GenerateDataKey", KEY, "s3"),
        ("Decrypt", STATE_KEY, "s3"),
        ("GenerateDataKey", STATE_KEY, "s3"),
        ("Decrypt", SECRET_KEY, "secretsmanager"),
    }
    assert rendered.resources["IncydrSecret"]["Properties"]["KmsKeyId"] == SECRET_KEY
    for bucket, key in [("RecordsBucket", KEY), ("StateBucket", STATE_KEY)]:
        (rule,) = rendered.resources[bucket]["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key


@pytest.mark.parametrize("which", ["SecretKmsKeyArn", "StateKmsKeyArn"])
def test_one_key_of_its_own_needs_no_other(template, which):
    role = Rendered(template, StateBucketName="state", **{which: KEY}).resources["CollectorRole"]
    (statement,) = allowing(role, "kms:Decrypt")
    assert statement["Resource"] == KEY


def test_fips_endpoints_are_asked_for_only_when_wanted(template, deployed):
    assert "AWS_USE_FIPS_ENDPOINT" not in deployed["Collector"]["Properties"]["Environment"]["Variables"]
    assert variables(Rendered(template, **VARIANTS["FIPS"]))["AWS_USE_FIPS_ENDPOINT"] == "true"


def test_each_key_is_named_for_what_is_written_under_it(template):
    for name in ["Collector", "Backfiller"]:
        held = Rendered(template, **VARIANTS["encryption asked for"]).resources[name]["Properties"]["Environment"]["Variables"]
        assert (held["S3_SSE"], held["S3_SSE_KMS_KEY_ID"], held["STATE_SSE_KMS_KEY_ID"]) == ("aws:kms", KEY, STATE_KEY)


def test_the_page_says_what_fips_endpoints_do_not_validate():
    page = " ".join((ROOT / "infra" / "README.md").read_text("utf-8").split())
    said = page[page.index("**GovCloud, or a rule that demands FIPS endpoints**") :].split(" ## ")[0]
    for part in ["The function's own cryptography is *not* validated", "no FIPS 140 certificate", '"validated modules everywhere", it is not']:
        assert part in said, part


def test_a_zip_that_is_there_takes_the_place_of_building(template, deployed):
    taken = Rendered(template, **VARIANTS["a release's zip"]).resources
    for name in ["Collector", "Backfiller"]:
        assert deployed[name]["Properties"]["Code"] == "."
        code = {"S3Bucket": "releases", "S3Key": "incydr-collector.zip", "S3ObjectVersion": "3"}
        assert taken[name]["Properties"]["Code"] == code
    newest = Rendered(template, CodeBucket="releases", CodeKey="x.zip").resources["Collector"]["Properties"]["Code"]
    assert newest == {"S3Bucket": "releases", "S3Key": "x.zip"}


def test_no_macro_stands_between_the_template_and_the_aws_cli(template):
    assert "Transform" not in template and "Globals" not in template
    assert not any(resource["Type"].startswith("AWS::Serverless") for resource in template["Resources"].values())


def test_the_console_asks_in_groups_for_every_parameter_once_and_for_few_at_first(template):
    form = template["Metadata"]["AWS::CloudFormation::Interface"]
    groups = [group["Parameters"] for group in form["ParameterGroups"]]
    asked = [parameter for group in groups for parameter in group]
    assert sorted(asked) == sorted(template["Parameters"])
    assert {label["default"] != "" for label in form["ParameterLabels"].values()} == {True}
    assert set(form["ParameterLabels"]) == set(asked)
    assert all(group["Label"]["default"] for group in form["ParameterGroups"])
    first = [parameter for group in groups[:3] for parameter in group]
    assert len(first) <= 10
    # Parameters without a default are shown at once, and so are those that a deployment without a build needs.
    needed = {name for name, facts in template["Parameters"].items() if "Default" not in facts}
    assert needed | {"CodeBucket", "CodeKey", "Architecture"} <= set(first)


def test_the_application_repository_would_take_its_metadata(template):
    """The limits that its API documents."""
    application = template["Metadata"]["AWS::ServerlessRepo::Application"]
    assert re.fullmatch(r"[a-zA-Z0-9-]{1,140}", application["Name"])
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", application["Author"])
    assert 0 < len(application["Description"]) <= 256 and len(application["Author"]) <= 127
    assert len(application["Labels"]) <= 10
    assert all(re.fullmatch(r"[a-zA-Z0-9+_:/@-]{1,127}", label) for label in application["Labels"])
    package = tomlkit.parse((ROOT / "Cargo.toml").read_text("utf-8"))
    assert application["SemanticVersion"] == package["package"]["version"]
    assert application["SpdxLicenseId"] == package["workspace"]["package"]["license"]
    # SAM would upload them with every deployment.
    assert {"LicenseUrl", "ReadmeUrl"}.isdisjoint(application)


# Of the types in doc_source/list-supported-resources.md of awsdocs/aws-serverlessrepo-developer-guide (2020), those that the template has.
KNOWN_TO_THE_REPOSITORY = {
    "AWS::Events::Rule", "AWS::IAM::Role", "AWS::KMS::Key", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Function", "AWS::Logs::LogGroup",
    "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "AWS::SQS::Queue", "AWS::SQS::QueuePolicy",
}  # fmt: skip


@pytest.mark.parametrize("page", ["docs/deploy.md", "infra/README.md"])
def test_a_type_that_the_application_repository_is_not_known_to_take_is_named_as_such(template, page):
    used = {resource["Type"] for resource in template["Resources"].values()}
    text = (ROOT / page).read_text("utf-8")
    assert set(re.findall(r"`(AWS::\w+::\w+)`", text)) == used - KNOWN_TO_THE_REPOSITORY


def test_the_template_is_ascii():
    """CloudFormation shows a question mark for any other character."""
    assert TEMPLATE.read_bytes().isascii()
