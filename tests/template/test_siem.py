"""A SIEM's access (infra/siem-access.yaml), and its pages."""

import re

import pytest
from policy import is_allowed
from rendered import ROOT, Rendered, source

INFRA = ROOT / "infra"
SIEMS = sorted(path for path in (INFRA / "siem").glob("*.md") if path.name != "README.md")

ACCESS = {
    "RecordsBucketName": "records",
    "SiemAccountId": "210987654321",
    "ExternalId": "a-long-random-one",
    "NoticesQueueArn": "arn:aws:sqs:us-east-1:123456789012:notices",
    "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234",
}


@pytest.fixture(scope="module")
def access():
    return Rendered(source(INFRA / "siem-access.yaml"), **ACCESS)


def siem_rights(access):
    return access.resources["ReadRecords"]["Properties"]["PolicyDocument"]["Statement"]


@pytest.mark.parametrize(
    "action, key",
    [
        ("s3:DeleteObject", "code42/audit/x"),
        ("s3:DeleteObjectVersion", "code42/audit/x"),
        ("s3:PutObject", "code42/audit/x"),
        ("s3:PutObjectTagging", "code42/audit/x"),
        ("s3:BypassGovernanceRetention", "code42/audit/x"),
        ("s3:PutLifecycleConfiguration", None),
        ("s3:DeleteBucket", None),
    ],
)
def test_a_siem_may_change_nothing_even_where_something_else_allows_it(access, action, key):
    resource = "arn:aws:s3:::records" + (f"/{key}" if key else "")
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    assert is_allowed([everything], action, resource, {})
    assert not is_allowed([everything, *siem_rights(access)], action, resource, {})


def test_a_siem_reads_the_records_and_nothing_else(access):
    rights = siem_rights(access)
    assert is_allowed(rights, "s3:GetObject", "arn:aws:s3:::records/code42/audit/x", {})
    assert not is_allowed(rights, "s3:GetObject", "arn:aws:s3:::records/incydr-collector/checkpoint.json", {})
    assert is_allowed(rights, "s3:ListBucket", "arn:aws:s3:::records", {"s3:prefix": "code42/audit/"})
    assert not is_allowed(rights, "s3:ListBucket", "arn:aws:s3:::records", {"s3:prefix": ""})
    assert is_allowed(rights, "s3:ListBucketVersions", "arn:aws:s3:::records", {"s3:prefix": "code42/"})
    assert not is_allowed(rights, "s3:ListBucketVersions", "arn:aws:s3:::records", {"s3:prefix": "incydr-collector/"})
    queue = ACCESS["NoticesQueueArn"]
    assert is_allowed(rights, "sqs:ReceiveMessage", queue, {})
    assert not is_allowed(rights, "sqs:PurgeQueue", queue, {})
    assert not is_allowed(rights, "sqs:ReceiveMessage", f"{queue}-other", {})
    assert not is_allowed(rights, "kms:Encrypt", ACCESS["KmsKeyArn"], {"kms:ViaService": "s3.us-east-1.amazonaws.com"})


def test_a_siem_shows_its_external_id(access):
    (statement,) = access.resources["SiemRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::210987654321:root"}
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": ACCESS["ExternalId"]}}
    without = Rendered(source(INFRA / "siem-access.yaml"), **ACCESS | {"ExternalId": ""})
    assert without.refused_by_rules() and not access.refused_by_rules()


def test_a_user_is_made_only_when_asked_for(access):
    assert not any(resource["Type"] == "AWS::IAM::User" for resource in access.resources.values())
    asked = Rendered(source(INFRA / "siem-access.yaml"), RecordsBucketName="records", CreateUser="true")
    assert "SiemUser" in asked.resources and "SiemRole" not in asked.resources
    assert not any(resource["Type"] == "AWS::IAM::AccessKey" for resource in asked.resources.values())


def test_google_assumes_its_role_by_the_one_subject():
    subject = "104321098765432109876"
    asked = Rendered(source(INFRA / "siem-access.yaml"), RecordsBucketName="records", GoogleSubjectId=subject)
    role = asked.resources["GoogleRole"]["Properties"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Federated": "accounts.google.com"}
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {"StringEquals": {"accounts.google.com:sub": subject}}
    assert role["ManagedPolicyArns"] == [asked.outputs["ReadRecordsPolicyArn"]] and "Policies" not in role
    assert asked.outputs["GoogleRoleArn"] and not asked.refused_by_rules()
    assert {"SiemRole", "SiemUser", "SiemUsers"}.isdisjoint(asked.resources)


def test_sentinel_assumes_its_role_for_the_one_workspace():
    workspace = "0b1c2d3e-0000-4000-8000-000000000000"
    template = source(INFRA / "siem-access.yaml")
    asked = Rendered(template, RecordsBucketName="records", SentinelWorkspaceId=workspace)
    role, provider = (asked.resources[name]["Properties"] for name in ["SentinelRole", "SentinelIdentities"])
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    issuer = provider["Url"].removeprefix("https://")
    assert statement["Principal"]["Federated"] == f"arn:aws:iam::123456789012:oidc-provider/{issuer}"
    assert statement["Condition"] == {
        "StringEquals": {
            f"{issuer}:aud": provider["ClientIdList"][0],
            "sts:RoleSessionName": f"MicrosoftSentinel_{workspace}",
        }
    }
    # The part of the stack's id that no other has.
    assert role["RoleName"] == "OIDC_incydr-collector-1234567db123" and role["ManagedPolicyArns"] == ["readrecords"]
    assert asked.outputs["SentinelRoleArn"]
    # An account has one provider per address.
    existing = Rendered(template, RecordsBucketName="records", SentinelWorkspaceId=workspace, SentinelProvider="EXISTING")
    assert "SentinelIdentities" not in existing.resources and "SentinelRole" in existing.resources


def test_panther_assumes_its_role_from_its_one_account():
    asked = Rendered(source(INFRA / "siem-access.yaml"), RecordsBucketName="records", PantherAccountId="210987654321")
    role = asked.resources["PantherRole"]["Properties"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::210987654321:root"}
    assert role["RoleName"] == "PantherLogProcessingRole-incydr-collector-1234567db123" and role["ManagedPolicyArns"] == ["readrecords"]
    assert asked.outputs["PantherRoleArn"]
    assert {"SiemRole", "GoogleRole", "SentinelRole", "SiemUser"}.isdisjoint(asked.resources)


def test_a_role_that_others_make_has_the_policy_to_hang_on_it():
    bare = Rendered(source(INFRA / "siem-access.yaml"), RecordsBucketName="records")
    assert set(bare.resources) == {"ReadRecords"}
    assert set(bare.outputs) == {"ReadRecordsPolicyArn", "RecordsUri"}
    assert not any(statement["Sid"] in ("TakeNotices", "KeyOfBucket") for statement in siem_rights(bare))


def test_a_queue_for_each_stream_is_read_and_no_other():
    queues = [f"arn:aws:sqs:us-east-1:123456789012:{name}" for name in ["audit", "cases"]]
    rights = siem_rights(Rendered(source(INFRA / "siem-access.yaml"), **ACCESS | {"NoticesQueueArn": ",".join(queues)}))
    for queue in queues:
        assert is_allowed(rights, "sqs:ReceiveMessage", queue, {})
        assert not is_allowed(rights, "sqs:ReceiveMessage", f"{queue}-other", {})


@pytest.mark.parametrize("page", sorted((INFRA / "siem").glob("*.md")), ids=lambda page: page.name)
def test_a_siems_page_names_what_there_is(page):
    """The names of outputs and parameters, wherever a page uses one."""
    stacks = [source(), source(INFRA / "siem-access.yaml")]
    there = {name for stack in stacks for part in ["Outputs", "Parameters"] for name in stack[part]}
    text = page.read_text("utf-8")
    makers = "Notices|Siem|Google|Sentinel|Panther|Records|ReadRecords|UnreadNotices|KmsKey"
    kinds = rf"\b(?:{makers})\w*?(?:Arn|Url|Uri|Name|Id)\b"
    named = set(re.findall(kinds, text))
    assert named and named <= there, named - there


@pytest.mark.parametrize("page", SIEMS, ids=lambda page: page.name)
def test_a_siems_page_has_all_that_a_page_has_and_is_found(page):
    text = page.read_text("utf-8")
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    always = ["What you need", "Parsing", "How to see that it works", "What goes wrong and why", "Sources"]
    assert [name for name in sections if name in always] == always
    assert any(name.startswith("Steps") for name in sections)
    for said in ["not confirmed", "README.md#what-aws-answers-and-why", "**Older objects"]:
        assert said in text, said
    assert f"]({page.name})" in (INFRA / "siem" / "README.md").read_text("utf-8")
    # Every link within the repository has a target.
    for place in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / place).exists(), place


@pytest.mark.parametrize(
    "page, facts",
    [
        (
            "google-secops",
            ["**Code42 Incydr** (`CODE42_INCYDR`) for `audit`", "change log", "custom log type", "**it reads one record a line, as the collector writes.**"],
        ),
        ("sumo-logic", ["`/Parsers/System/Code42/Code42 Incydr`", "*App Catalog > Code42 Incydr*"]),
        ("splunk", ["| `using_dlq` | `1`, as by default.", "insists on a dead-letter queue, unless `using_dlq = 0`"]),
        ("microsoft-sentinel", ["SentinelWorkspaceId=", "`SentinelRoleArn`"]),
        ("panther", ["PantherAccountId=", "`PantherRoleArn`"]),
        ("crowdstrike-logscale", ["**split by newline** (`SplitNewline`)", "| SQS URL (`sqsUrl`) | `NoticesQueueUrl` |", "## Steps in Next-Gen SIEM"]),
        ("cortex-xsiam", ["| SQS URL | `NoticesQueueUrl` |", "| Log Type | **Generic** |", "| Compression | **gzip** |"]),
        ("amazon-opensearch", ["**does not read this bucket**", "[The steps](../answers/security-lake.md)", "compression: gzip codec: newline: {}"]),
        ("qradar", ["| S3 Collection Method | **SQS Event Notifications** |", "| Event Format | **LINEBYLINE**"]),
    ],
)
def test_a_siems_page_says_what_is_known_of_it(page, facts):
    text = " ".join((INFRA / "siem" / f"{page}.md").read_text("utf-8").split())
    assert [fact for fact in facts if fact not in text] == []
