"""`make doctor`, with an AWS whose answers are all given here."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler

import pytest
from rendered import ROOT
from samcli.cli.types import CfnParameterOverridesType
from stand_ins import Server, reply

ACCOUNT = "123456789012"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234"
SECRET = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:incydr-AbCdEf"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:notices"
MONITORING = "cloudformation describe-stacks --stack-name incydr-collector-dev-monitoring"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/collector"

PROGRAMS = ["doctor.py", "samconfig.py", "parameters.py", "least_python.py", "tools.py", "key_policy.py"]

# Answers by the first four or two words of a command, and logs the command.
AWS = """#!{python} -SE
import json, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(print("aws-cli/2.31.0"))
with open({calls!r}, "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["configure", "get"]:
    print("us-east-1")
    sys.exit(0)
answers = json.load(open({answers!r}))
answer = answers.get(" ".join(sys.argv[1:3]), "AccessDenied: nobody said what to answer")
answer = answers.get(" ".join(sys.argv[1:5]), answer)
if sys.argv[1:3] == ["lambda", "invoke"]:
    event = json.load(open(next(word for word in sys.argv if word.startswith("fileb://"))[8:]))
    open(sys.argv[-1], "w").write(json.dumps(answer[event["action"]]))
    print("None")
    sys.exit(0)
if isinstance(answer, str):
    sys.exit("An error occurred " + answer)
if "--query" in sys.argv:
    print("arn:aws:lambda:us-east-1:123456789012:function:collector")
else:
    print(json.dumps(answer))
"""


class Patient:
    def __init__(self, directory, api):
        self.directory, self.api = directory, api
        self.calls = directory / "calls"
        # infra/samconfig.toml, where it is more than the parameters.
        self.config = ""
        self.environment = {}
        self.parameters = {"BaseUrl": api, "Architecture": "arm64", "ScheduleState": "ENABLED"}
        self.answers = {
            "sts get-caller-identity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:role/deployer"},
            "lambda get-account-settings": {
                "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
            },
            "cloudformation describe-stacks": "(ValidationError): Stack with id incydr-collector-dev does not exist",
            MONITORING: "(ValidationError): Stack with id incydr-collector-dev-monitoring does not exist",
        }
        (directory / "infra").mkdir()
        for name in [*PROGRAMS, "needs.sh", "invoke.sh", "output.sh"]:
            (directory / "infra" / name).write_bytes((ROOT / "infra" / name).read_bytes())
            (directory / "infra" / name).chmod(0o755)
        for name in ["template.yaml", "Cargo.toml"]:
            (directory / name).write_bytes((ROOT / name).read_bytes())
        # The API of these tests is no *.code42.com.
        template = (directory / "template.yaml").read_text("utf-8")
        template = re.sub(r"AllowedPattern: \^https://api.*", "AllowedPattern: ^https?://.+$", template)
        (directory / "template.yaml").write_text(template, "utf-8")
        (directory / "tools").mkdir()
        self.aws = AWS.format(python=sys.executable, calls=str(self.calls), answers=str(directory / "answers"))
        self.tool("aws", self.aws)
        for name, says in [("sam", "SAM CLI, version 1.170.0"), ("cargo", "cargo 1.95.0 (x)"), ("cargo-lambda", "cargo-lambda 1.9.2")]:
            self.tool(name, f"#!/bin/sh\necho '{says}'\n")

    def tool(self, name, text):
        path = self.directory / "tools" / name
        path.write_text(text, "utf-8")
        path.chmod(0o755)

    def deployed(self, **more):
        outputs = {"FunctionName": "collector", "SecretArn": SECRET, "RoleArn": ROLE, "NoticesQueueArn": QUEUE}
        self.answers["cloudformation describe-stacks"] = {
            "Stacks": [
                {
                    "StackStatus": "CREATE_COMPLETE",
                    "Parameters": [
                        {"ParameterKey": name, "ParameterValue": value}
                        for name, value in (self.parameters | {"Streams": "audit,users"} | more).items()
                    ],
                    "Outputs": [{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()],
                }
            ]
        }
        self.answers["secretsmanager describe-secret"] = {"VersionIdsToStages": {"1": ["AWSCURRENT"]}}
        self.answers["lambda invoke"] = {
            "probe": {"action": "probe", "access": "full", "streams": {"audit": {"permitted": True}}},
            "status": {"action": "status", "streams": {"audit": {"enabled": True, "state": "collecting"}}},
        }

    def key(self, statement, state="Enabled"):
        self.answers["kms describe-key"] = {"KeyMetadata": {"KeyState": state, "Arn": KEY}}
        self.answers["kms get-key-policy"] = {"Policy": json.dumps({"Statement": [statement]})}

    def see(self):
        """Returns the doctor's output, and whether it found something to mend."""
        listed = ", ".join(json.dumps(f"{name}={value}") for name, value in self.parameters.items())
        config = self.config or f"[dev.global.parameters]\nparameter_overrides = [{listed}]\n"
        (self.directory / "infra" / "samconfig.toml").write_text(config, "utf-8")
        (self.directory / "answers").write_text(json.dumps(self.answers), "utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in ("AWS_REGION", "AWS_DEFAULT_REGION")}
        environment |= {"PATH": f"{self.directory / 'tools'}:/usr/bin:/bin"} | self.environment
        done = subprocess.run(
            [sys.executable, self.directory / "infra" / "doctor.py", "dev"], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        assert "Traceback" not in done.stdout, done.stdout
        said = re.findall(r"^  MEND  (.*)\n {10}(\S.*)$", done.stdout, re.MULTILINE)
        assert done.returncode == bool(said) and done.stdout.count("MEND") == len(said), done.stdout
        return done.stdout, said


@pytest.fixture(scope="module")
def api():
    def answer(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, 404, b"")

    server = Server(answer)
    yield f"http://{server.address}"
    server.stop()


@pytest.fixture
def patient(tmp_path, api):
    return Patient(tmp_path, api)


def test_before_the_first_deployment_nothing_is_to_mend(patient):
    said, to_mend = patient.see()
    assert to_mend == [] and "nothing to mend" in said
    for found in ["account 123456789012", "region us-east-1", "name of the stack is free", f"{patient.api} answers"]:
        assert found in said
    for found in ["SAM CLI, version 1.170.0", "aws-cli/2.31.0", "cargo 1.95.0", "cargo-lambda 1.9.2"]:
        assert found in said


@pytest.mark.parametrize(
    "name, says, finding, command",
    [
        ("aws", "aws-cli/1.19.9", "aws is 1.19.9, and 1.20.0 or newer is needed", "docs.aws.amazon.com"),
        ("aws", "aws-cli/2.2.1", "aws is 2.2.1, and 2.3.0 or newer is needed", "docs.aws.amazon.com"),
        ("sam", None, "sam is not installed", "pip install --upgrade aws-sam-cli"),
        ("sam", "SAM CLI, version 1.100.0", "sam is 1.100.0, and 1.101.0 or newer is needed", "pip install"),
        ("cargo", None, "cargo is not installed", "rustup"),
        ("cargo", "cargo 1.80.0 (x)", "cargo is 1.80.0, and RUST or newer is needed", "rustup"),
        ("cargo-lambda", None, "cargo-lambda is not installed", "pip install cargo-lambda"),
        ("Cargo.toml", None, "there are no sources here", 'add "CodeBucket=<bucket>", "CodeKey=<zip>", to the parameters of dev'),
    ],
)
def test_a_program_that_is_missing_or_too_old_is_found(patient, name, says, finding, command):
    if name == "Cargo.toml":
        (patient.directory / name).unlink()
    elif says is None:
        (patient.directory / "tools" / name).unlink()
    elif name == "aws":
        patient.tool(name, patient.aws.replace("aws-cli/2.31.0", says))
    else:
        patient.tool(name, f"#!/bin/sh\necho '{says}'\n")
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["rust-version"]
    said, to_mend = patient.see()
    assert len(to_mend) == 1 and finding.replace("RUST", rust) in to_mend[0][0] and command in to_mend[0][1], said
    # What only building needs is no fault where a release's zip is deployed.
    if name.lower().startswith("cargo"):
        patient.parameters |= {"CodeBucket": "releases", "CodeKey": "x.zip"}
        patient.answers |= {"s3api head-bucket": {"BucketRegion": "us-east-1"}, "s3api head-object": {}}
        assert patient.see()[1] == []


@pytest.mark.parametrize(
    "environment, finding",
    [
        ({}, None),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, None),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}, None),
        # The profile has us-east-1.
        ({"AWS_REGION": "us-east-1"}, None),
        ({"AWS_REGION": "eu-west-1"}, "it would deploy to us-east-1"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}, "it would deploy to us-west-2"),
    ],
)
def test_a_region_that_sam_does_not_read_is_found(patient, environment, finding):
    patient.environment = environment
    said, to_mend = patient.see()
    if not finding:
        assert to_mend == [] and f"region {environment.get('AWS_DEFAULT_REGION', 'us-east-1')}" in said
        return
    ((found, command),) = to_mend
    assert finding in found and command == "export AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1"
    patient.environment = dict(word.split("=") for word in command.split()[1:])
    assert patient.see()[1] == []


def test_only_aws_region_and_no_profile_is_found(patient):
    patient.tool("aws", patient.aws.replace('print("us-east-1")', "pass"))
    patient.environment = {"AWS_REGION": "eu-west-1"}
    _, ((found, _),) = patient.see()
    assert "it would deploy to no region" in found


@pytest.mark.parametrize("given, times", [({}, 0), ({"Architecture": "x86_64", " Architecture": "arm64"}, 2)])
def test_a_list_that_does_not_name_the_processor_once_is_found(patient, given, times):
    del patient.parameters["Architecture"]
    listed = [f"{name.strip()}={value}" for name, value in (patient.parameters | given).items()]
    patient.config = f"[dev.global.parameters]\nparameter_overrides = {json.dumps(listed)}\n"
    _, ((finding, command),) = patient.see()
    assert f"names Architecture {times} times" in finding and "Architecture=arm64" in command


def test_what_the_stack_has_and_the_file_no_longer_names_is_said(patient):
    patient.deployed(Notify="SQS", Interval="1-hour", MemorySize="512", Streams="audit")
    patient.parameters["Interval"] = "1-hour"
    said, to_mend = patient.see()
    assert to_mend == []
    noted = re.findall(r"note  (\w+) is (\S+) in the stack, and infra/samconfig.toml doesn't name it", said)
    assert noted == [("Streams", "audit"), ("Notify", "SQS")]
    assert 'add "Notify=SQS", or with its default: "Notify=NONE",' in said


@pytest.mark.parametrize("own", ["KmsKeyArn", "SecretKmsKeyArn"])
@pytest.mark.parametrize("kept_as", [KEY, "1234", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/incydr"])
def test_a_secrets_key_is_recognised_however_secrets_manager_names_it(patient, own, kept_as):
    patient.parameters[own] = KEY
    patient.deployed()
    patient.key(to_iam())
    patient.answers["secretsmanager describe-secret"]["KmsKeyId"] = kept_as
    assert patient.see()[1] == []
    assert f"kms describe-key --key-id {kept_as}" in patient.calls.read_text("utf-8")
    patient.parameters[own] = ""
    patient.deployed()
    patient.answers["secretsmanager describe-secret"]["KmsKeyId"] = kept_as
    assert [command for _, command in patient.see()[1]] == [f"SecretKmsKeyArn={KEY}"]


def encrypted(patient, key):
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "aws:kms"}
    patient.answers["s3api head-bucket"] = {}
    patient.answers["s3api get-bucket-encryption"] = {
        "ServerSideEncryptionConfiguration": {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
    }


@pytest.mark.parametrize("bucket, own", [("RecordsBucketName", "KmsKeyArn"), ("StateBucketName", "StateKmsKeyArn")])
@pytest.mark.parametrize("kept_as", [KEY, "1234", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/incydr"])
def test_a_buckets_own_key_is_found_however_s3_names_it_and_the_parameter_mends_it(patient, bucket, own, kept_as):
    patient.parameters |= {bucket: "mine", "KmsKeyArn": f"{KEY}-other"}
    encrypted(patient, kept_as)
    patient.key(to_iam())
    _, ((finding, command),) = patient.see()
    assert f"{bucket}: mine has a KMS key which the function may not use" in finding and command == f"{own}={KEY}"
    assert f"kms describe-key --key-id {kept_as}" in patient.calls.read_text("utf-8")
    patient.parameters |= dict([command.split("=")])
    assert patient.see()[1] == []


@pytest.mark.parametrize("case", ["header", "aws/s3", "aws/s3 by its id", "not to be seen"])
def test_a_buckets_key_is_no_fault(patient, case):
    patient.parameters["RecordsBucketName"] = "mine"
    encrypted(patient, None if case == "aws/s3" else "1234")
    patient.key(to_iam())
    match case:
        case "header":
            patient.parameters["EncryptionHeader"] = "aws:kms"
        case "aws/s3 by its id":
            patient.answers["kms describe-key"]["KeyMetadata"]["KeyManager"] = "AWS"
        case "not to be seen":
            patient.answers["s3api get-bucket-encryption"] = "(AccessDenied)"
    said, to_mend = patient.see()
    assert to_mend == [] and ("the key of mine was not checked" in said) == (case == "not to be seen")


def test_with_a_key_of_its_own_the_secret_may_be_under_no_other(patient):
    patient.parameters |= {"KmsKeyArn": KEY, "SecretKmsKeyArn": f"{KEY}-other"}
    patient.deployed()
    patient.key(to_iam())
    patient.answers["secretsmanager describe-secret"]["KmsKeyId"] = "1234"
    assert [command for _, command in patient.see()[1]] == [f"SecretKmsKeyArn={KEY}"]


@pytest.mark.parametrize("key", ["", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/aws/secretsmanager"])
def test_a_secret_under_awss_own_key_needs_no_other(patient, key):
    patient.deployed()
    patient.answers["secretsmanager describe-secret"]["KmsKeyId"] = key
    assert patient.see()[1] == []
    assert "kms describe-key" not in patient.calls.read_text("utf-8")


@pytest.mark.parametrize(
    "status, way_out",
    [
        *[(status, "delete-stack") for status in ["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"]],
        # The function goes on collecting.
        ("UPDATE_FAILED", "rollback-stack"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
    ],
)
def test_a_stack_that_takes_no_deployment_is_led_out_of_it(patient, status, way_out):
    patient.deployed()
    patient.answers["cloudformation describe-stacks"]["Stacks"][0]["StackStatus"] = status
    said, to_mend = patient.see()
    assert ("status: 1 streams without an error" in said) == (way_out != "delete-stack")
    assert [command for _, command in to_mend] == [f"aws cloudformation {way_out} --stack-name incydr-collector-dev"]


@pytest.mark.parametrize(
    "status, noted",
    [
        # SAM creates it as if there were none.
        ("REVIEW_IN_PROGRESS", "not deployed in us-east-1"),
        *[
            (f"{status}_IN_PROGRESS", f"the stack is changing: {status}_IN_PROGRESS")
            for status in ["CREATE", "UPDATE", "UPDATE_COMPLETE_CLEANUP", "UPDATE_ROLLBACK", "ROLLBACK", "DELETE"]
        ],
    ],
)
def test_a_stack_that_is_not_ready_is_no_fault_and_is_said(patient, status, noted):
    patient.deployed()
    patient.answers["cloudformation describe-stacks"]["Stacks"][0]["StackStatus"] = status
    said, to_mend = patient.see()
    assert to_mend == [] and f"  note  {noted}" in said and "deployed:" not in said


@pytest.mark.parametrize("name, held, value", [("ScheduleState", "DISABLED", "ENABLED"), ("Interval", "1-day", "5-minutes")])
def test_alarms_that_go_by_what_was_deployed_before_are_found(patient, name, held, value):
    patient.deployed()
    patient.answers["cloudformation describe-stacks"]["Stacks"][0]["Outputs"].append({"OutputKey": name, "OutputValue": value})
    assert patient.see()[1] == []
    monitoring = {"ParameterKey": name, "ParameterValue": held}
    patient.answers[MONITORING] = {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Parameters": [monitoring]}]}
    _, ((finding, command),) = patient.see()
    assert finding == f"the alarms go by {name}={held}, and the collector has {value}"
    assert command == "make deploy-monitoring ENV=dev"
    monitoring["ParameterValue"] = value
    assert patient.see()[1] == []
    (row,) = re.findall(r"^\| `make deploy-monitoring` .*", (ROOT / "docs" / "deploy.md").read_text("utf-8"), re.MULTILINE)
    assert "again" in row and f"`{name}`" in row


TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"


@pytest.mark.parametrize(
    "confirmed, pending, found, mended_by",
    [
        (0, 0, f"nobody gets the alarms: {TOPIC} has no subscription", f"aws sns subscribe --topic-arn {TOPIC} --protocol email --notification-endpoint <address>"),
        (0, 1, "nobody gets the alarms yet: the subscription is not confirmed", "open the link in the mail that AWS sent to AlarmEmail"),
        (1, 1, None, None),
    ],
)
def test_alarms_that_nobody_gets_are_found(patient, confirmed, pending, found, mended_by):
    patient.deployed()
    outputs = [{"OutputKey": "AlarmTopicArn", "OutputValue": TOPIC}]
    patient.answers[MONITORING] = {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}
    subscribed = {"SubscriptionsConfirmed": str(confirmed), "SubscriptionsPending": str(pending)}
    patient.answers["sns get-topic-attributes"] = {"Attributes": subscribed}
    assert patient.see()[1] == ([(found, mended_by)] if found else [])


def test_after_a_deployment_the_next_one_is_looked_at(patient):
    """What infra/samconfig.toml says now, not what the stack has."""
    zipped = {"CodeBucket": "releases", "CodeKey": "collector-0.1.0.zip", "ReservedConcurrency": "2"}
    patient.parameters |= zipped
    patient.deployed()
    answers = patient.answers
    # What the stack has is taken already, and needs no look.
    limit = {"ConcurrentExecutions": 102, "UnreservedConcurrentExecutions": 100}
    answers["lambda get-account-settings"] = {"AccountLimit": limit}
    answers |= {"s3api head-bucket": {"BucketRegion": "us-east-1"}, "s3api head-object": "(404) Not Found"}
    assert patient.see()[1] == []
    patient.parameters["CodeKey"] = "collector-0.2.0.zip"
    _, ((finding, _),) = patient.see()
    assert "the zip can't be read at s3://releases/collector-0.2.0.zip" in finding
    answers["s3api head-object"] = {}
    patient.parameters["ReservedConcurrency"] = "3"
    _, ((finding, _),) = patient.see()
    assert "ReservedConcurrency=3 will be refused" in finding
    patient.parameters["ReservedConcurrency"] = "1"
    assert patient.see()[1] == []
    patient.parameters["Architecture"] = "x86_64"
    patient.parameters["CodeKey"] = "collector-0.2.0-arm64.zip"
    _, ((finding, _),) = patient.see()
    assert "is built for arm64, and Architecture is x86_64" in finding


def test_a_deployed_one_is_asked_for_probe_and_status(patient):
    patient.deployed()
    said, to_mend = patient.see()
    assert to_mend == [] and "full access" in said


def test_nothing_is_changed(patient):
    patient.parameters |= {"RecordsBucketName": "mine", "KmsKeyArn": KEY}
    patient.deployed(Notify="SQS")
    patient.see()
    for call in patient.calls.read_text("utf-8").splitlines():
        service, operation, *_ = call.split()
        assert re.match(r"get|describe|list|head", operation) or (service, operation) == ("lambda", "invoke"), call
    # A secret's value is never read.
    assert "get-secret-value" not in patient.calls.read_text("utf-8")


def to_iam(account=ACCOUNT):
    return {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "kms:*"}


@pytest.mark.parametrize(
    "what, finding, command",
    [
        ("credentials", "AWS refuses your credentials", "aws configure"),
        ("address", "doesn't answer this machine", "BaseUrl="),
        ("concurrency", "ReservedConcurrency=2 will be refused: 10 of the account's 10", "ReservedConcurrency=0"),
        ("left over", "a failed deployment left the stack in ROLLBACK_COMPLETE", "aws cloudformation delete-stack --stack-name incydr-collector-dev"),
        ("no bucket", "there is no bucket mine", "aws s3 mb s3://mine --region us-east-1 # names are unique in all of AWS"),
        ("another's bucket", "or 123456789012 does not own it", "BucketOwner="),
        ("locked", "the checkpoint can't be replaced", "StateBucketName=CREATE"),
        ("bucket elsewhere", "mine is in eu-west-1, and the function would be in us-east-1", "AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1"),
        ("zip elsewhere", "takes a zip only from a bucket there", "aws s3 mb s3://<bucket> --region us-east-1 && aws s3 cp s3://releases/"),
        ("another's processor", "is built for x86_64, and Architecture is arm64", "Architecture=x86_64"),
        ("misspelt", "BaseUlr: template.yaml has no such parameter; did you mean BaseUrl?", "docs/settings.md"),
        ("no parameter", "BaseUrl https: each parameter is Name=value", '"Name=value",'),
        ("no zip", "the zip can't be read at s3://releases/x.zip", "aws s3 cp <zip> s3://releases/x.zip"),
        ("empty secret", "the secret is empty", "aws secretsmanager put-secret-value --secret-id arn:"),
        ("secret's key", "has its own KMS key", f"SecretKmsKeyArn={KEY}"),
        ("key's policy", "neither leaves access to IAM nor names", "aws kms put-key-policy"),
        ("key is off", "the key is Disabled", "aws kms enable-key"),
        ("nobody is told", "mine sends no notices of new objects to arn:", "aws s3api put-bucket-notification-configuration"),
        ("no permission", "users is not permitted: the API client lacks Users: Read", "API Clients"),
        ("refused", "ThirdPartyConfigError: the API refuses", "make logs"),
        ("status fails", "status: FirstPartyGenericError: GetObject is denied", "make logs"),
        ("stopped", "audit has been in state stopped since 2026", "restart"),
    ],
)
def test_is_found_and_what_mends_it(patient, what, finding, command):
    answers, parameters = patient.answers, patient.parameters
    if what in ("empty secret", "secret's key", "nobody is told", "no permission", "refused", "status fails", "stopped"):
        patient.deployed(**({"RecordsBucketName": "mine", "Notify": "SQS"} if what == "nobody is told" else {}))
    match what:
        case "credentials":
            answers["sts get-caller-identity"] = "(ExpiredToken)"
        case "address":
            parameters["BaseUrl"] = "http://127.0.0.1:1"
        case "concurrency":
            parameters["ReservedConcurrency"] = "2"
            limit = {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}
            answers["lambda get-account-settings"] = {"AccountLimit": limit}
        case "left over":
            answers["cloudformation describe-stacks"] = {"Stacks": [{"StackStatus": "ROLLBACK_COMPLETE"}]}
        case "no bucket":
            parameters["RecordsBucketName"] = "mine"
            answers["s3api head-bucket"] = "(404) Not Found"
        case "another's bucket":
            parameters["RecordsBucketName"] = "mine"
            answers["s3api head-bucket"] = "(403) Forbidden"
        case "locked":
            parameters["RecordsBucketName"] = "mine"
            answers["s3api head-bucket"] = {}
            answers["s3api get-object-lock-configuration"] = {"ObjectLockConfiguration": {"Rule": {}}}
        case "bucket elsewhere":
            parameters["RecordsBucketName"] = "mine"
            answers["s3api head-bucket"] = {"BucketRegion": "eu-west-1"}
        case "zip elsewhere":
            parameters |= {"CodeBucket": "releases", "CodeKey": "x.zip"}
            answers |= {"s3api head-bucket": {"BucketRegion": "eu-west-1"}, "s3api head-object": {}}
        case "another's processor":
            parameters |= {"CodeBucket": "releases", "CodeKey": "incydr-collector-0.1.0-x86_64.zip"}
            answers |= {"s3api head-bucket": {"BucketRegion": "us-east-1"}, "s3api head-object": {}}
        case "misspelt":
            parameters["BaseUlr"] = "x"
        case "no parameter":
            patient.config = f"[dev.global.parameters]\nparameter_overrides = ['BaseUrl={patient.api}', 'Architecture=arm64', 'BaseUrl https']"
        case "no zip":
            answers["s3api head-bucket"] = {}
            parameters |= {"CodeBucket": "releases", "CodeKey": "x.zip"}
            answers["s3api head-object"] = "(404) Not Found"
        case "empty secret":
            answers["secretsmanager describe-secret"] = {}
        case "secret's key":
            answers["secretsmanager describe-secret"]["KmsKeyId"] = KEY
            patient.key(to_iam())
        case "key's policy":
            parameters["KmsKeyArn"] = KEY
            patient.key(to_iam("210987654321"))
        case "key is off":
            parameters["KmsKeyArn"] = KEY
            patient.key(to_iam(), "Disabled")
        case "nobody is told":
            answers["s3api head-bucket"] = {}
            answers["s3api get-bucket-notification-configuration"] = {"LambdaFunctionConfigurations": []}
        case "no permission":
            streams = {"users": {"permitted": False, "permission": "Users: Read"}}
            answers["lambda invoke"]["probe"]["streams"] = streams
        case "refused":
            answers["lambda invoke"]["probe"] = {"errorType": "ThirdPartyConfigError", "errorMessage": "the API refuses it"}
        case "status fails":
            denied = {"errorType": "FirstPartyGenericError", "errorMessage": "GetObject is denied"}
            answers["lambda invoke"]["status"] = denied
        case "stopped":
            stopped = {"state": "stopped", "since": "2026-11-21T13:00:00Z", "error": {"message": "refused"}}
            answers["lambda invoke"]["status"]["streams"]["audit"] = stopped
    said, to_mend = patient.see()
    assert len(to_mend) == 1, said
    assert finding in to_mend[0][0] and command in to_mend[0][1], said


def test_a_key_that_leaves_access_to_iam_or_names_the_role_is_good(patient):
    patient.parameters["KmsKeyArn"] = KEY
    patient.key(to_iam())
    assert patient.see()[1] == []
    patient.deployed()
    patient.key({"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "kms:Decrypt"})
    assert patient.see()[1] == []


def test_a_file_that_is_no_toml_is_found_and_its_line(patient):
    patient.config = '[dev.global.parameters]\nparameter_overrides = [\n    "Architecture=arm64"\n    "ScheduleState=DISABLED",\n]\n'
    _, ((finding, command),) = patient.see()
    assert "not TOML" in finding and "line 4" in finding and "comma" in command


def test_parameters_in_one_line_are_read_too(patient):
    patient.config = f"[dev.global.parameters]\nparameter_overrides = 'BaseUrl={patient.api} Architecture=arm64 Streams=audit'\n"
    said, to_mend = patient.see()
    assert to_mend == [] and f"{patient.api} answers" in said


@pytest.mark.parametrize("written", ['Fields={"env": "prod"}', "CodeVersion=1 2"])
def test_a_value_that_sam_would_cut_off_is_found_and_the_command_mends_it(patient, written):
    name, value = written.split("=")

    def config(item):
        return f"[dev.global.parameters]\nparameter_overrides = [\n    'BaseUrl={patient.api}', 'Architecture=arm64',\n    {item}\n]\n"

    patient.config = config(f"\'{written}\',")
    _, ((finding, command),) = patient.see()
    assert f"SAM ends the value of {name} at" in finding
    taken = CfnParameterOverridesType().convert
    assert taken((written,), None, None) != {name: value}
    patient.config = config(command)
    (mended,) = tomllib.loads(patient.config)["dev"]["global"]["parameters"]["parameter_overrides"][2:]
    assert taken((mended,), None, None) == {name: value}
    patient.deployed(**{name: value})
    said, to_mend = patient.see()
    assert to_mend == [] and f"{name} is" not in said


def test_an_environment_without_parameters_is_found(patient):
    patient.config = "[prod.global.parameters]\nparameter_overrides = ['BaseUrl=x']\n"
    # Nothing will be built for it.
    (patient.directory / "tools" / "cargo-lambda").unlink()
    _, to_mend = patient.see()
    assert [finding for finding, _ in to_mend] == ["infra/samconfig.toml has no parameters for dev; it has prod"]


@pytest.mark.parametrize("notify, kind", [("SQS", "Queue"), ("SNS", "Topic")])
def test_the_command_for_notices_keeps_those_that_the_bucket_has(patient, notify, kind):
    others = [{f"{kind}Arn": "theirs", "Events": ["s3:ObjectRemoved:*"]}]
    patient.deployed(RecordsBucketName="mine", Notify=notify, S3Prefix="siem/")
    answers = patient.answers
    answers["cloudformation describe-stacks"]["Stacks"][0]["Outputs"].append({"OutputKey": "NoticesTopicArn", "OutputValue": "topic"})
    answers["s3api head-bucket"] = {}
    answers["s3api get-bucket-notification-configuration"] = {
        f"{kind}Configurations": others, "LambdaFunctionConfigurations": [{"Id": "x"}]
    }  # fmt: skip
    _, ((_, command),) = patient.see()
    wanted = json.loads(shlex.split(command)[-1])
    assert wanted["LambdaFunctionConfigurations"] == [{"Id": "x"}]
    theirs, ours = wanted[f"{kind}Configurations"]
    assert theirs == others[0] and ours[f"{kind}Arn"] == {"SQS": QUEUE, "SNS": "topic"}[notify]
    assert ours["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "siem/"}]
    # S3 refuses a configuration that names what is no longer there.
    gone = {f"{kind}Arn": f"arn:aws:s:us-east-1:123456789012:incydr-collector-dev-Notices{'Topic' * (notify == 'SNS')}-1A2b3C"}
    answers["s3api get-bucket-notification-configuration"][f"{kind}Configurations"] = [gone, *others]
    _, ((_, command),) = patient.see()
    assert json.loads(shlex.split(command)[-1]) == wanted
    # And then nothing is left to mend.
    answers["s3api get-bucket-notification-configuration"] = wanted
    assert patient.see()[1] == []


def test_the_command_for_a_keys_policy_keeps_its_statements_and_mends_it(patient):
    patient.parameters["KmsKeyArn"] = KEY
    patient.key(to_iam("210987654321"))
    _, ((_, command),) = patient.see()
    policy = json.loads(shlex.split(command)[-1])
    assert policy["Statement"][0] == to_iam("210987654321") and len(policy["Statement"]) == 2
    patient.answers["kms get-key-policy"] = {"Policy": json.dumps(policy)}
    assert patient.see()[1] == []


def test_what_may_not_be_looked_at_is_said_and_is_no_fault(patient):
    del patient.answers["lambda get-account-settings"]
    said, to_mend = patient.see()
    assert to_mend == [] and "note  concurrency was not checked: An error occurred AccessDenied" in said


def test_a_collector_without_the_action_status_is_no_fault(patient):
    patient.deployed()
    patient.answers["lambda invoke"]["status"] = {"errorType": "InvalidEvent", "errorMessage": "unknown action"}
    assert patient.see()[1] == []


UNREACHED = {"type": "ThirdPartyGenericError", "message": "POST /v1/oauth: the API could not be reached or broke off"}


def test_an_api_that_the_function_does_not_reach_is_one_fault(patient):
    patient.deployed()
    unknown = {"permitted": None, "error": UNREACHED}
    patient.answers["lambda invoke"]["probe"] |= {"access": None, "streams": {"audit": unknown, "users": unknown}}
    stopped = {"enabled": True, "state": "error", "since": "2026-11-21T13:00:00Z", "error": UNREACHED}
    patient.answers["lambda invoke"]["status"]["streams"] = {"audit": stopped}
    said, ((finding, command),) = patient.see()
    assert finding == f"the function can't reach the API: {UNREACHED['message']}"
    assert command == "check BaseUrl, and in a VPC the NAT gateway, the security group and the proxy"
    assert "the API answers the function" not in said and "without an error" not in said


def test_a_plan_that_probe_can_not_tell_is_not_called_none(patient):
    patient.deployed()
    patient.answers["lambda invoke"]["probe"]["access"] = None
    said, to_mend = patient.see()
    assert to_mend == [] and "probe: the API answers the function" in said and "None" not in said


def test_streams_that_are_collected_no_more_are_said_and_not_counted(patient):
    patient.deployed()
    patient.answers["lambda invoke"]["status"]["streams"] = {
        "users": {"enabled": True, "state": "collecting"},
        "cases": {"enabled": False, "state": "stopped"},
        "file_events": {"enabled": False, "state": "stopped"},
    }
    said, to_mend = patient.see()
    assert to_mend == [] and "status: 1 streams without an error" in said
    assert "  note  not collected any more: cases, file_events (their place stands on the checkpoint)" in said


@pytest.mark.parametrize(
    "name, value, must, command",
    [
        # One of a kind that Python can't open.
        ("BaseUrl", "api.us.code42.com", "must be https://api.<region>.code42.com, without", "BaseUrl=..."),
        ("Streams", "audit,file_event", "must be names of streams", "Streams=..."),
        ("Streams", "audit, users", "must be names of streams", 'write it without blanks: "Streams=audit,users",'),
        ("Streams", "'audit, users'", "must be names of streams", 'write it without blanks: "Streams=audit,users",'),
        ("Interval", "2-minutes", "must be one of 5-minutes, 10-minutes,", "Interval=5-minutes"),
        ("Timeout", "1000", "must be a number from 10 to 900", "Timeout=..."),
        ("Timeout", "soon", "must be a number from 10 to 900", "Timeout=..."),
        ("LogRetentionDays", "15", "must be one of 1, 3, 5,", "LogRetentionDays="),
        ("S3Prefix", "a" * 200 + "/", "must have at most 200 characters", "S3Prefix=..."),
        ("RecordsBucketName", "Bad_Name", "must be empty or a bucket's name: 3 to 63 lower-case letters", "RecordsBucketName=..."),
    ],
)
def test_a_value_that_the_template_refuses_is_found(patient, name, value, must, command):
    if name == "BaseUrl":
        (patient.directory / "template.yaml").write_bytes((ROOT / "template.yaml").read_bytes())
    patient.parameters[name] = value
    patient.answers["s3api head-bucket"] = {}
    plain = value.strip("'")
    for deployed in [{}, {name: patient.api if name == "BaseUrl" else "0"}]:
        if deployed:
            patient.deployed(**deployed)
        _, ((finding, mend),) = patient.see()
        assert finding.startswith(f'{name} is "{plain}", but {must}') and command in mend


@pytest.mark.parametrize("name", ["RecordsBucketName", "S3Prefix", "StateBucketName", "StatePrefix"])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_place_that_is_not_the_deployed_one_is_found(patient, name, is_named):
    end = "/" if "Prefix" in name else ""
    before = f"before{end}" if is_named else ""
    patient.deployed(**{name: before})
    patient.answers["s3api head-bucket"] = {}
    patient.parameters[name] = f"after{end}"
    said, ((finding, command),) = patient.see()
    assert finding == f"{name} differs from the deployed one: the collector would begin anew there, and store records again"
    assert command == f'put the deployed value back into infra/samconfig.toml: "{name}={before}",'
    assert "make deploy ENV" not in said and "s3api head-bucket --bucket after" not in patient.calls.read_text("utf-8")


def test_a_bucket_of_the_stack_by_its_own_name_is_no_other_place(patient):
    patient.deployed(RecordsBucketName="")
    patient.answers["cloudformation describe-stacks"]["Stacks"][0]["Outputs"].append(
        {"OutputKey": "RecordsBucketName", "OutputValue": "mine"}
    )
    patient.answers["s3api head-bucket"] = {}
    patient.parameters["RecordsBucketName"] = "mine"
    assert patient.see()[1] == []


def test_a_difference_has_two_ways_out(patient):
    patient.deployed(Interval="1-hour")
    patient.parameters["Interval"] = "5-minutes"
    said, to_mend = patient.see()
    assert to_mend == []
    assert "  note  Interval is 1-hour in the stack and 5-minutes in infra/samconfig.toml\n" in said
    assert 'to keep it: "Interval=1-hour", in infra/samconfig.toml; to change it: make deploy ENV=dev' in said


def test_no_command_turns_the_schedule_off(patient):
    patient.parameters |= {"Interval": "1-hour"}
    patient.deployed()
    patient.answers["lambda invoke"]["status"] = {"errorType": "InvalidEvent", "errorMessage": "unknown action"}
    patient.parameters |= {"ScheduleState": "DISABLED", "Interval": "5-minutes"}
    said, to_mend = patient.see()
    assert to_mend == []
    assert 'to keep it: "ScheduleState=ENABLED", in infra/samconfig.toml\n' in said
    deploys = [line for line in said.splitlines() if "make deploy ENV" in line]
    assert len(deploys) == 2 and all('"ScheduleState=ENABLED", in infra/samconfig.toml, then: make deploy ENV=dev' in line for line in deploys)


def test_a_stack_that_was_deployed_without_samconfig_is_looked_at_by_its_own_parameters(patient):
    patient.parameters |= {"CodeBucket": "releases", "CodeKey": "x.zip"}
    patient.deployed(ScheduleState="DISABLED")
    patient.config = "[prod.global.parameters]\nparameter_overrides = ['BaseUrl=x']\n"
    for name in ["sam", "cargo", "cargo-lambda"]:
        (patient.directory / "tools" / name).unlink()
    said, to_mend = patient.see()
    assert to_mend == [] and f"{patient.api} answers" in said
    assert "infra/samconfig.toml has no parameters for dev" in said and "make deploy" not in said
    for name in ["sam is", "cargo"]:
        assert name not in said


def test_without_sources_and_zip_one_fault_is_told(patient):
    (patient.directory / "Cargo.toml").unlink()
    for name in ["cargo", "cargo-lambda"]:
        (patient.directory / "tools" / name).unlink()
    said, ((finding, command),) = patient.see()
    assert finding == "no zip is named, and there are no sources here to build it from"
    assert command == 'add "CodeBucket=<bucket>", "CodeKey=<zip>", to the parameters of dev in infra/samconfig.toml'
    assert "cargo" not in said


def test_without_a_region_the_credentials_are_not_blamed(patient):
    patient.tool("aws", patient.aws.replace('print("us-east-1")', "pass"))
    patient.answers["sts get-caller-identity"] = "You must specify a region."
    said, ((finding, _),) = patient.see()
    assert finding == "no region is set" and "credentials" not in said


SECRET_FAULTS = [
    "the secret incydr is empty; it takes a JSON object with \"client_id\" and \"client_secret\"",
    "the secret incydr has no \"client_id\"; it takes a JSON object with \"client_id\" and \"client_secret\"",
    "the API refuses the credentials (401: invalid_client): the client id or secret is wrong, or INCYDR_BASE_URL is another region's",
]


@pytest.mark.parametrize("message", SECRET_FAULTS)
def test_what_fills_the_secret_mends_what_the_credentials_lack(patient, message):
    patient.deployed()
    patient.answers["lambda invoke"]["probe"] = {"errorType": "ThirdPartyConfigError", "errorMessage": message}
    _, ((finding, command),) = patient.see()
    assert finding == f"probe: ThirdPartyConfigError: {message}"
    assert command.startswith(f"aws secretsmanager put-secret-value --secret-id {SECRET} --secret-string file://secret.json")
    # Once is enough.
    patient.answers["secretsmanager describe-secret"] = {}
    assert [finding for finding, _ in patient.see()[1]] == ["the secret is empty"]


def test_the_messages_of_a_faulty_secret_are_those_of_the_code():
    code = "".join((ROOT / "src" / name).read_text("utf-8") for name in ["secrets.rs", "incydr/error.rs"]).replace('\\"', '"')
    assert 'it takes a JSON object with "client_id"' in code and "the API refuses the credentials (" in code
