"""The template is true to the code: it sets what the code reads, and allows what the code calls.

Looked at is the template as SAM deploys it, so that what SAM adds is checked too.
"""

import json
import re
from pathlib import Path

import botocore.session
import pytest
import tomlkit
from botocore import xform_name
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"

# Where the right has another name than the call.
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


@pytest.fixture(scope="module")
def template():
    return yaml_parse(TEMPLATE.read_text("utf-8"))


@pytest.fixture(scope="module")
def deployed():
    """The resources after SAM's transformation."""
    source = yaml_parse(TEMPLATE.read_text("utf-8"))
    # What `sam deploy` puts in the place of the local directory.
    source["Resources"]["Collector"]["Properties"]["CodeUri"] = "s3://bucket/key"
    return Translator({}, Parser()).translate(source, {})["Resources"]


def settled(node, conditions):
    """The node with each Fn::If replaced by the branch that the conditions choose."""
    if isinstance(node, dict):
        if set(node) == {"Fn::If"}:
            condition, yes, no = node["Fn::If"]
            return settled(yes if conditions[condition] else no, conditions)
        return {key: settled(value, conditions) for key, value in node.items()}
    if isinstance(node, list):
        branches = [settled(item, conditions) for item in node]
        return [item for item in branches if item != {"Ref": "AWS::NoValue"}]
    return node


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(role, *, has_key=False, creates_secret=True):
    conditions = {"HasKey": has_key, "CreatesSecret": creates_secret, "ReservesConcurrency": True}
    policies = settled(role["Properties"].get("Policies", []), conditions)
    return [statement for policy in policies for statement in listed(policy["PolicyDocument"]["Statement"])]


def actions(role, **conditions):
    return {action for statement in statements(role, **conditions) for action in listed(statement["Action"])}


def allowing(role, action, **conditions):
    """The one statement that allows the action."""
    (statement,) = [found for found in statements(role, **conditions) if action in listed(found["Action"])]
    return statement


def roles(deployed):
    return {name: resource for name, resource in deployed.items() if resource["Type"] == "AWS::IAM::Role"}


def variables(template):
    return template["Resources"]["Collector"]["Properties"]["Environment"]["Variables"]


def production_code(path):
    """A Rust file without comment lines and without its tests, which stand at its end."""
    code = path.read_text("utf-8").split("#[cfg(test)]\nmod ")[0]
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("//"))


def code_below(*names):
    sources = [path for name in names for path in (ROOT / "src").glob(name)]
    return "\n".join(production_code(path) for path in sorted(sources))


def settings_code():
    return code_below("settings.rs", "settings/**/*.rs")


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


def test_every_variable_that_is_set_is_one_the_settings_read(template):
    read = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', settings_code()))
    assert set(variables(template)) - read == set()


def test_every_required_setting_is_set(template):
    required = set(re.findall(r'required\(\s*"(\w+)"', settings_code()))
    assert required >= {"INCYDR_BASE_URL", "INCYDR_SECRET_ID", "S3_BUCKET"}
    assert required - set(variables(template)) == set()


def test_every_default_is_the_one_of_the_settings(template):
    for variable, value in variables(template).items():
        default = template["Parameters"].get(value.get("Ref"), {}).get("Default") if isinstance(value, dict) else value
        # No default, or an empty one, which counts as absent.
        if default:
            default_in_code = rf'"{variable}"[^"]*"?{re.escape(str(default))}["),]'
            assert re.search(default_in_code, settings_code()), f"{variable}={default}"


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
    function = template["Resources"]["Collector"]
    assert function["Metadata"]["BuildProperties"]["Binary"] in binaries
    assert function["Properties"]["Handler"] == "bootstrap"


def test_the_role_allows_exactly_what_the_code_calls(deployed):
    assert actions(deployed["CollectorRole"]) == actions_called() | ACTIONS_WITHOUT_A_CALL


def test_the_key_is_allowed_only_where_there_is_one(deployed):
    role = deployed["CollectorRole"]
    assert actions(role, has_key=True) - actions(role, has_key=False) == KEY_ACTIONS
    assert allowing(role, "kms:Decrypt", has_key=True)["Resource"] == {"Ref": "KmsKeyArn"}


@pytest.mark.parametrize("has_key", [False, True])
def test_nothing_may_be_deleted_and_no_right_is_a_wildcard(deployed, has_key):
    for role in roles(deployed).values():
        assert "ManagedPolicyArns" not in role["Properties"]
        for statement in statements(role, has_key=has_key):
            assert statement["Effect"] == "Allow"
            assert {"NotAction", "NotResource"}.isdisjoint(statement)
            for action in listed(statement["Action"]):
                assert "*" not in action and "delete" not in action.lower()
            for resource in listed(statement["Resource"]):
                # Each names a resource of this stack, or one that a parameter names.
                assert isinstance(resource, dict), resource


def test_only_records_replays_and_state_are_read_and_written(deployed, template):
    role = deployed["CollectorRole"]
    prefixes = ["${S3Prefix}*", "${ReplayPrefix}*", "incydr-collector/*"]
    objects = {f"${{RecordsBucket.Arn}}/{prefix}" for prefix in prefixes}
    for action in ["s3:GetObject", "s3:PutObject"]:
        assert {resource["Fn::Sub"] for resource in allowing(role, action)["Resource"]} == objects
    assert variables(template)["CHECKPOINT_KEY"].startswith("incydr-collector/")


def test_the_bucket_is_listed_only_below_its_prefixes(deployed):
    statement = allowing(deployed["CollectorRole"], "s3:ListBucket")
    assert statement["Resource"] == {"Fn::GetAtt": ["RecordsBucket", "Arn"]}
    assert statement["Condition"] == {
        "StringLike": {
            "s3:prefix": [{"Fn::Sub": "${S3Prefix}*"}, {"Fn::Sub": "${ReplayPrefix}*"}, "incydr-collector/*"]
        }
    }


@pytest.mark.parametrize("creates_secret, secret", [(True, "IncydrSecret"), (False, "SecretArn")])
def test_the_one_secret_that_is_read_is_the_one_that_is_set(deployed, template, creates_secret, secret):
    assert settled(variables(template)["INCYDR_SECRET_ID"], {"CreatesSecret": creates_secret}) == {"Ref": secret}
    statement = allowing(deployed["CollectorRole"], "secretsmanager:GetSecretValue", creates_secret=creates_secret)
    assert statement["Resource"] == {"Ref": secret}


@pytest.mark.parametrize("parameter", ["S3Prefix", "ReplayPrefix"])
@pytest.mark.parametrize("prefix", ["code42/", "siem/incydr/", "a=b/", "incydr-collector-records/"])
def test_a_prefix_is_taken(template, parameter, prefix):
    assert re.search(template["Parameters"][parameter]["AllowedPattern"], prefix)


@pytest.mark.parametrize("prefix", ["", "/", "code42", "*/", "a//b/", "${aws:username}/", "incydr-collector/", "incydr-collector/x/"])
@pytest.mark.parametrize("parameter", ["S3Prefix", "ReplayPrefix"])
def test_a_prefix_that_reaches_elsewhere_is_refused(template, parameter, prefix):
    assert not re.search(template["Parameters"][parameter]["AllowedPattern"], prefix)


def test_a_failed_run_is_reported_and_never_run_again(deployed, template):
    invocations = template["Resources"]["Collector"]["Properties"]["EventInvokeConfig"]
    assert invocations["MaximumRetryAttempts"] == 0
    assert invocations["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailedRuns", "Arn"]}
    (schedule,) = [resource for resource in deployed.values() if resource["Type"] == "AWS::Scheduler::Schedule"]
    assert schedule["Properties"]["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0


def test_the_schedule_sends_an_event_that_means_the_scheduled_work(deployed):
    (schedule,) = [resource for resource in deployed.values() if resource["Type"] == "AWS::Scheduler::Schedule"]
    assert json.loads(schedule["Properties"]["Target"]["Input"]) == {"source": "aws.scheduler"}
    # A name would clash with a second stack's.
    assert "Name" not in schedule["Properties"]


def test_by_default_a_run_ends_before_the_next_begins(template):
    parameters = template["Parameters"]
    (minutes,) = re.fullmatch(r"rate\((\d+) minutes\)", parameters["Schedule"]["Default"]).groups()
    assert parameters["Timeout"]["Default"] < int(minutes) * 60
    assert parameters["MaximumEventAge"]["Default"] <= int(minutes) * 60


def test_records_and_secret_outlive_the_stack(deployed):
    for name in ["RecordsBucket", "RecordsBucketPolicy", "IncydrSecret"]:
        assert deployed[name]["DeletionPolicy"] == deployed[name]["UpdateReplacePolicy"] == "Retain"


def test_the_template_is_ascii():
    """CloudFormation shows a question mark for anything else."""
    assert TEMPLATE.read_bytes().isascii()
