"""The stacks under infra/ agree with the collector's stack, with its metrics, and with their documentation."""

import json
import re
import subprocess

import pytest
from cfnlint.api import ManualArgs, lint
from rendered import ROOT, Rendered, listed, source, statements

INFRA = ROOT / "infra"
STACKS = sorted(path.name for path in INFRA.glob("*.yaml"))

# The metrics that the collector writes in the namespace IncydrCollector, by unit.
OF_STREAMS = {
    "Records": "Count",
    "Objects": "Count",
    "Bytes": "Bytes",
    "Requests": "Count",
    "Throttles": "Count",
    "Retries": "Count",
    "Lag": "Seconds",
    "Gaps": "Count",
    "SetAside": "Count",
    "Stuck": "Count",
    "Drift": "Count",
    "Stalled": "Count",
    "NotPermitted": "Count",
    "Late": "Count",
    "Failed": "Count",
    "ConfigErrors": "Count",
    "Expiring": "Count",
    "Expired": "Count",
}
OF_RUNS = {"RunDuration": "Milliseconds", "Runs": "Count", "ClockNotBelieved": "Count", "StateLost": "Count"}
# The calls by which Step Functions sets up the delivery of its logs.
LOGS_OTHERS = {"DescribeLogGroups", "DescribeResourcePolicies", "PutResourcePolicy"}
BACKFILLER = "arn:aws:lambda:us-east-1:123456789012:function:backfiller"
MONITORED = {
    "FunctionName": "collector",
    "LogGroupName": "/aws/lambda/incydr",
    "FailedRunsQueueName": "failed",
    "MissedTicksQueueName": "missed",
    "UnreadNoticesQueueName": "unread",
    "NoticesQueueName": "notices",
    "RunbookUrl": "https://wiki/runbook.md",
}
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"


@pytest.fixture(scope="module")
def monitoring():
    return Rendered(source(INFRA / "monitoring.yaml"), **MONITORED)


@pytest.fixture(scope="module")
def backfill():
    return Rendered(source(INFRA / "backfill.yaml"), BackfillerArn=BACKFILLER, ShardsAtOnce=7)


def alarms(rendered):
    kinds = rendered.resources.items()
    return {name: resource["Properties"] for name, resource in kinds if resource["Type"] == "AWS::CloudWatch::Alarm"}


# The parameters that a person gives. `make deploy-...` fills in all others.
GIVEN_BY_HAND = {
    "athena.yaml": {"DatabaseName", "FirstDay", "ScanLimitBytes", "ResultDays"},
    "backfill.yaml": {"ShardsAtOnce", "LogRetentionDays"},
    "monitoring.yaml": {
        "SilentAuditHours", "SilentFileEventsHours", "FailedRunsLimit", "AlarmTopicArn", "AlarmEmail", "RunbookUrl", "DollarsPerGbSecond",
        "DollarsPer1000Writes",
    },
    "notify.yaml": {
        "EventBus", "LeastLevel", "SlackUrl", "TicketUrl", "TicketAuthorization", "AlarmTopicArn", "LogRetentionDays",
    },
    "respond.yaml": {
        "ResponderSecretArn", "ResponderSecretKmsKeyArn", "AllowedActions", "NeedsApproval", "MaxTargets", "DailyLimit",
        "ResponderRequestsPerMinute", "DryRun", "EventSource", "EventDetailType", "RequestsTopicArn", "ApproverEmail", "AlarmTopicArn",
        "RequestsPrefix", "LeaversPrefix", "BucketOwner", "CodeBucket", "CodeKey", "CodeVersion", "LogLevel", "LogRetentionDays",
        "SubnetIds", "SecurityGroupIds", "ProxyUrl", "NoProxy", "CaBundleLayerArn",
    },
    "siem-access.yaml": {
        "SiemAccountId", "SiemPrincipalArn", "ExternalId", "GoogleSubjectId", "SentinelWorkspaceId", "SentinelProvider",
        "PantherAccountId", "CreateUser",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STACKS)
def test_a_parameter_that_nobody_gives_is_an_output_of_the_collectors_stack_and_of_the_terraform_module(name):
    parameters = set(source(INFRA / name)["Parameters"])
    filled = parameters - GIVEN_BY_HAND[name]
    assert parameters >= GIVEN_BY_HAND[name] and filled
    assert filled <= set(source()["Outputs"])
    terraform = set(re.findall(r'outputs, "(\w+)", null', (INFRA / "terraform" / "outputs.tf").read_text("utf-8")))
    assert filled <= terraform


def test_an_output_with_the_name_of_a_parameter_has_its_value():
    """Otherwise the stacks beside it would go on with their own defaults."""
    other = {"Interval": "1-hour", "ScheduleState": "DISABLED", "MemorySize": 1024, "RequestsPerMinute": 60, "Architecture": "x86_64"}
    assert Rendered(source(), **other).outputs.items() >= other.items()


def test_the_outputs_that_the_pages_ask_for_are_there():
    """`infra/output.sh STACK NAME` in a command of a page."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *INFRA.glob("**/*.md")]
    asked = [found for page in pages for found in re.findall(r"infra/output\.sh incydr-collector-\w+?(-[\w-]+)? (\w+)", page.read_text("utf-8"))]
    assert {stack for stack, _ in asked} >= {"", "-respond", "-notify"}
    for stack, name in asked:
        assert name in source(INFRA / f"{stack[1:]}.yaml" if stack else ROOT / "template.yaml")["Outputs"], (stack, name)


@pytest.mark.parametrize("name", STACKS)
def test_what_two_stacks_share_has_the_same_values(name):
    ours = source()["Parameters"]
    for parameter, facts in source(INFRA / name)["Parameters"].items():
        if parameter in ours and "AllowedValues" in facts:
            assert facts["AllowedValues"] == ours[parameter]["AllowedValues"]
        if parameter in ours and facts.get("Default"):
            assert facts["Default"] == ours[parameter]["Default"]


@pytest.mark.parametrize("name", STACKS)
def test_every_parameter_is_used_and_the_text_is_ascii(name):
    text = (INFRA / name).read_text("utf-8")
    assert text.isascii()
    for parameter in source(INFRA / name)["Parameters"]:
        assert len(re.findall(rf"\b{parameter}\b", text)) > 1, parameter
    # The partition is never written out, except in a pattern that describes it.
    assert not re.search(r"arn:aws:", re.sub(r"AllowedPattern:.*", "", text))


def test_alarms_and_dashboard_ask_for_metrics_that_the_collector_writes(monitoring):
    asked = {
        (alarm["MetricName"], tuple(dimension["Name"] for dimension in alarm["Dimensions"]))
        for alarm in alarms(monitoring).values()
        if alarm["Namespace"] == "IncydrCollector"
    }
    dashboard = monitoring.resources["Dashboard"]["Properties"]["DashboardBody"]
    for widget in json.loads(dashboard)["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            if metric[0] == "IncydrCollector":
                asked.add((metric[1], ("FunctionName",)))
            elif isinstance(metric[0], dict):
                searched = re.search(r'\{IncydrCollector,([\w,]+)\} .*MetricName="(\w+)"', metric[0]["expression"])
                asked |= {(searched[2], tuple(searched[1].split(",")))} if searched else set()
    assert len(asked) > 10
    for metric, dimensions in asked:
        of_stream = dimensions == ("FunctionName", "Stream")
        assert metric in (OF_STREAMS if of_stream else OF_STREAMS | OF_RUNS)
        assert of_stream or dimensions == ("FunctionName",)


@pytest.mark.parametrize("has_queue", [False, True])
def test_the_dashboard_shows_every_alarm(has_queue):
    queues = {} if has_queue else {"UnreadNoticesQueueName": "", "NoticesQueueName": ""}
    monitoring = Rendered(source(INFRA / "monitoring.yaml"), **{**MONITORED, **queues})
    shown = json.loads(monitoring.resources["Dashboard"]["Properties"]["DashboardBody"])["widgets"][0]["properties"]
    assert len(alarms(monitoring)) == (20 if has_queue else 18)
    assert sorted(shown["alarms"]) == sorted(monitoring.of({"Fn::GetAtt": [name, "Arn"]}) for name in alarms(monitoring))


def test_what_matters_has_an_alarm(monitoring):
    watched = {alarm["MetricName"] for alarm in alarms(monitoring).values()}
    assert watched >= {"Runs", "Lag", "ConfigErrors", "Gaps", "Records", "Expiring", "Expired"}
    assert watched >= {"Stuck", "SetAside", "NotPermitted", "Drift", "ClockNotBelieved", "Stalled", "StateLost"}
    assert "ApproximateNumberOfMessagesVisible" in watched


@pytest.mark.parametrize("interval", source()["Parameters"]["Interval"]["AllowedValues"])
def test_one_failed_tick_is_no_alarm_and_no_period_is_one_that_cloudwatch_refuses(interval):
    number, unit = interval.split("-")
    every = int(number) * {"minute": 60, "hour": 3600, "day": 86400}[unit.rstrip("s")]
    found = alarms(Rendered(source(INFRA / "monitoring.yaml"), **MONITORED, Interval=interval))
    for name, alarm in found.items():
        period, times = int(alarm["Period"]), int(alarm["EvaluationPeriods"])
        assert period % 60 == 0 and period <= 86400, name
        # CloudWatch looks back a day at most, or a week if periods are an hour or longer.
        assert period * times <= (7 * 86400 if period >= 3600 else 86400), name
        if alarm["Namespace"] != "AWS/SQS":
            # A period without a run would look like a pause.
            assert period * times >= every, name
    for name in ["RunsFail", "Lag", "Gap"]:
        assert int(found[name]["EvaluationPeriods"]) > 1 and int(found[name]["Period"]) >= every
    assert int(found["NoRun"]["Period"]) * int(found["NoRun"]["EvaluationPeriods"]) >= 2 * every
    assert int(found["Lag"]["Threshold"]) > 2 * every


def runbook_sections():
    """The runbook's sections of alarms. The first one is for all of them."""
    first, *of_alarms = re.findall(r"^## (.+)$", (INFRA / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert first == "First steps"
    return of_alarms


def test_every_alarm_tells_somebody_and_says_where_to_read_on(monitoring):
    anchors = {heading.lower().replace(" ", "-") for heading in runbook_sections()}
    linked = set()
    for name, alarm in alarms(monitoring).items():
        assert len(alarm["AlarmActions"]) == 1, name
        linked.add(re.search(r" https://wiki/runbook\.md#([\w-]+)$", alarm["AlarmDescription"].strip())[1])
    assert linked == anchors


def test_without_an_address_an_alarm_names_the_section_and_links_nowhere():
    unlinked = Rendered(source(INFRA / "monitoring.yaml"), **MONITORED | {"RunbookUrl": ""})
    named = set()
    for alarm in alarms(unlinked).values():
        named.add(re.search(r" Runbook: (.+)$", alarm["AlarmDescription"].strip())[1])
        assert "#" not in alarm["AlarmDescription"] and "/" not in alarm["AlarmDescription"]
    assert named == set(runbook_sections())


def test_what_is_silent_because_it_is_disabled_is_no_alarm():
    for state, missing in [("ENABLED", "breaching"), ("DISABLED", "notBreaching")]:
        found = alarms(Rendered(source(INFRA / "monitoring.yaml"), **MONITORED, ScheduleState=state))
        assert {found[name]["TreatMissingData"] for name in ["NoRun", "SilentAudit", "SilentFileEvents"]} == {missing}
        others = {alarm["TreatMissingData"] for name, alarm in found.items() if not name.startswith(("NoRun", "Silent"))}
        assert others == {"notBreaching", "ignore"}


def test_the_runbook_looks_for_a_throttled_tick_where_lambda_puts_it():
    """Lambda accepts an asynchronous event even while it throttles, and drops it when it is too old."""
    runbook = (INFRA / "runbook.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", runbook, re.MULTILINE))
    assert "EventAgeExceeded" in sections["Failed runs"] and "ReservedConcurrency" in sections["Failed runs"]
    assert "ReservedConcurrency" not in sections["Missed ticks"] and "#failed-runs" in sections["Missed ticks"]
    # Events that wait in Lambda's queue and dropped ones are in the same section.
    invocations = source()["Resources"]["CollectorEventInvokeConfig"]["Properties"]
    assert invocations["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailedRuns", "Arn"]}


@pytest.mark.parametrize("path", [ROOT / "template.yaml", *sorted(INFRA.glob("*.yaml"))], ids=lambda path: path.name)
def test_every_role_and_user_can_be_bounded_and_has_the_path(path):
    template = source(path)
    made = [it for it in template["Resources"].values() if it["Type"] in ("AWS::IAM::Role", "AWS::IAM::User")]
    for resource in made:
        properties = resource["Properties"]
        assert properties["Path"] == {"Ref": "RolePath"}
        assert properties["PermissionsBoundary"] == {
            "Fn::If": ["IsBounded", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]
        }
    assert bool(made) == ("RolePath" in template["Parameters"])
    for output in ["RolePath", "PermissionsBoundaryArn"]:
        assert output in source()["Outputs"]


FIPS = {"Fn::If": ["UsesFips", "true", {"Ref": "AWS::NoValue"}]}


@pytest.mark.parametrize("path", [ROOT / "template.yaml", *sorted(INFRA.glob("*.yaml"))], ids=lambda path: path.name)
def test_every_function_can_be_told_of_fips_endpoints_and_one_that_writes_of_encryption(path):
    template = source(path)
    functions = [it["Properties"] for it in template["Resources"].values() if it["Type"] == "AWS::Lambda::Function"]
    for function in functions:
        variables = function["Environment"]["Variables"]
        assert variables["AWS_USE_FIPS_ENDPOINT"] == FIPS
        if "S3_BUCKET" in variables:
            assert variables["S3_SSE"]["Fn::If"][:2] == ["NamesEncryption", {"Ref": "EncryptionHeader"}]
            for variable, named, key in [
                ("S3_SSE_KMS_KEY_ID", "NamesKey", "KmsKeyArn"), ("STATE_SSE_KMS_KEY_ID", "NamesStateKey", "StateKmsKeyArn")
            ]:  # fmt: skip
                condition, value, _ = variables[variable]["Fn::If"]
                # The collector's stack may create the first.
                assert condition == named and (value["Fn::If"][2] if "Fn::If" in value else value) == {"Ref": key}
    # `make deploy-...` fills them in from the collector's outputs.
    rules = {"UseFipsEndpoints", "EncryptionHeader", "KmsKeyArn", "StateKmsKeyArn", "PermissionsBoundaryArn", "RolePath"}
    assert rules <= set(source()["Outputs"])
    assert not functions or {"UseFipsEndpoints", "KmsKeyArn"} <= set(template["Parameters"])


@pytest.mark.parametrize("path", [ROOT / "template.yaml", *sorted(INFRA.glob("*.yaml"))], ids=lambda path: path.name)
def test_every_function_that_calls_the_api_gets_the_layer_with_the_certificate_authorities(path):
    template = source(path)
    functions = [it["Properties"] for it in template["Resources"].values() if it["Type"] == "AWS::Lambda::Function"]
    for function in functions:
        variables = function["Environment"]["Variables"]
        if "INCYDR_BASE_URL" in variables:
            nothing = {"Ref": "AWS::NoValue"}
            assert function["Layers"] == {"Fn::If": ["HasCaBundle", [{"Ref": "CaBundleLayerArn"}], nothing]}
            # A layer's files lie below /opt.
            assert variables["INCYDR_CA_BUNDLE"] == {"Fn::If": ["HasCaBundle", "/opt/ca.pem", nothing]}
    count = sum("Layers" in function for function in functions)
    assert count == {"template.yaml": 2, "respond.yaml": 1}.get(path.name, 0)


def resources_of(node):
    """Every `Resource` of a policy, whatever condition it stands under."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from [value] if name == "Resource" else resources_of(value)
    elif isinstance(node, list):
        for item in node:
            yield from resources_of(item)


@pytest.mark.parametrize("path", [ROOT / "template.yaml", *sorted(INFRA.glob("*.yaml"))], ids=lambda path: path.name)
def test_each_queue_has_a_policy_of_its_own_that_names_no_other(path):
    """SQS allows one queue in a policy."""
    policies = [it["Properties"] for it in source(path)["Resources"].values() if it["Type"] == "AWS::SQS::QueuePolicy"]
    queues = [queue["Ref"] for policy in policies for queue in policy["Queues"]]
    assert len(queues) == len(policies) == len(set(queues)) == {"template.yaml": 2, "notify.yaml": 1, "respond.yaml": 2}.get(path.name, 0)
    for policy, queue in zip(policies, queues):
        found = list(resources_of(policy["PolicyDocument"]))
        assert found and all(resource == {"Fn::GetAtt": [queue, "Arn"]} for resource in found), queue


def test_each_stack_has_a_database_of_its_own():
    def name(stack, **parameters):
        rendered = Rendered(source(INFRA / "athena.yaml"), RecordsBucketName="b", **parameters)
        rendered.stack_name = stack
        return rendered.of(rendered.template["Resources"]["Database"]["Properties"]["DatabaseInput"]["Name"])

    assert name("incydr-collector-dev-athena") == "incydr_collector_dev_athena"
    assert name("incydr-collector-prod-athena") == "incydr_collector_prod_athena"
    assert name("incydr-collector-dev-athena", DatabaseName="incydr") == "incydr"


# The properties that name a resource, where an account or a region has each name only once; and the longest name.
NAMES = {
    "AWS::Athena::WorkGroup": ("Name", 128),
    "AWS::CloudWatch::Alarm": ("AlarmName", 255),
    "AWS::CloudWatch::Dashboard": ("DashboardName", 255),
    "AWS::Events::EventBus": ("Name", 256),
    "AWS::Events::Rule": ("Name", 64),
    "AWS::IAM::Group": ("GroupName", 128),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName", 128),
    "AWS::IAM::Role": ("RoleName", 64),
    "AWS::IAM::User": ("UserName", 64),
    "AWS::KMS::Alias": ("AliasName", 256),
    "AWS::Lambda::Function": ("FunctionName", 64),
    "AWS::Logs::LogGroup": ("LogGroupName", 512),
    "AWS::S3::Bucket": ("BucketName", 63),
    "AWS::SNS::Topic": ("TopicName", 256),
    "AWS::SQS::Queue": ("QueueName", 80),
    "AWS::Scheduler::Schedule": ("Name", 64),
    "AWS::SecretsManager::Secret": ("Name", 512),
    "AWS::StepFunctions::StateMachine": ("StateMachineName", 80),
}


@pytest.mark.parametrize("path", [ROOT / "template.yaml", *sorted(INFRA.glob("*.yaml"))], ids=lambda path: path.name)
def test_two_stacks_of_an_account_share_no_name_and_none_is_longer_than_aws_takes(path):
    """A stack's name has at most 128 characters. CloudFormation makes the names that a template leaves out."""

    def names(stack, id_):
        rendered = Rendered(source(path))
        rendered.stack_name, rendered.stack_id = stack, f"arn:aws:cloudformation:us-east-1:123456789012:stack/{stack}/{id_}"
        for logical, resource in rendered.template["Resources"].items():
            name, longest = NAMES.get(resource["Type"], ("", 0))
            if name in resource.get("Properties", {}):
                yield logical, rendered.of(resource["Properties"][name]), longest

    one = list(names("incydr-collector-dev" + 108 * "x", "51af3dc0-da77-11e4-872e-1234567db123"))
    other = list(names("incydr-collector-prod" + 107 * "x", "51af3dc0-da77-11e4-872e-765432100123"))
    for (logical, name, longest), (_, another, _) in zip(one, other, strict=True):
        assert len(name) <= longest, (logical, name)
        assert name != another, logical


@pytest.mark.parametrize("name", STACKS)
def test_what_is_kept_is_not_kept_of_a_first_deployment_that_failed(name):
    for resource in source(INFRA / name)["Resources"].values():
        assert resource.get("DeletionPolicy") != "Retain"
        if resource["Type"] == "AWS::Logs::LogGroup":
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate"


def definition(backfill):
    return json.loads(backfill.resources["Backfill"]["Properties"]["DefinitionString"])


def machines(machine):
    """The state machine, and those inside of its maps."""
    yield machine
    for state in machine["States"].values():
        if state["Type"] == "Map":
            yield from machines(state["ItemProcessor"])


def next_of(state):
    """The states that may follow."""
    rules = [state, *state.get("Choices", []), *state.get("Catch", [])]
    named = {rule[field] for rule in rules for field in ["Next", "Default"] if field in rule}
    assert bool(named) != (state.get("End", False) or state["Type"] in ("Fail", "Succeed"))
    return named


def test_the_state_machine_is_one_that_cfn_lint_takes(backfill):
    """cfn-lint checks no definition that contains parameters."""
    properties = {"DefinitionString": json.dumps(definition(backfill)), "RoleArn": "arn:aws:iam::123456789012:role/r"}
    resources = {"Backfill": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}
    assert lint(json.dumps({"Resources": resources}), config=ManualArgs(regions=["us-east-1"])) == []
    properties["DefinitionString"] = properties["DefinitionString"].replace('"Seconds"', '"Secnods"', 1)
    assert lint(json.dumps({"Resources": resources}), config=ManualArgs(regions=["us-east-1"])) != []


def test_every_state_is_reached_and_every_way_leads_to_one(backfill):
    for machine in machines(definition(backfill)):
        states = machine["States"]
        assert {machine["StartAt"]}.union(*map(next_of, states.values())) == set(states)


def test_every_call_is_to_the_one_function_and_tried_again_and_hands_on_little(backfill):
    calls = [
        state
        for machine in machines(definition(backfill))
        for state in machine["States"].values()
        if state["Type"] == "Task"
    ]
    assert len(calls) == 4
    timeout = source()["Resources"]["Backfiller"]["Properties"]["Timeout"]
    for call in calls:
        assert call["Resource"] == "arn:aws:states:::lambda:invoke"
        assert call["Parameters"]["FunctionName"] == BACKFILLER
        refused, failed = call["Retry"]
        assert refused == {"ErrorEquals": ["InvalidEvent", "ThirdPartyConfigError"], "MaxAttempts": 0}
        assert failed["ErrorEquals"] == ["States.ALL"] and failed["MaxAttempts"] > 2
        assert call["ResultSelector"] and call["ResultPath"] != "$"
        assert call["TimeoutSeconds"] > timeout


def test_no_more_shards_are_read_at_once_than_share_the_requests(backfill):
    states = definition(backfill)["States"]
    assert states["Shards"]["MaxConcurrency"] == states["Begin"]["Parameters"]["ours"]["at_once"] == 7
    (most,) = re.findall(r'"at_once" => .*\bnumber\(field, value, 1\.\.=(\d+)\)', (ROOT / "src" / "edge" / "event.rs").read_text("utf-8"))
    assert source(INFRA / "backfill.yaml")["Parameters"]["ShardsAtOnce"]["MaxValue"] == int(most)
    processor = states["Shards"]["ItemProcessor"]["ProcessorConfig"]
    assert processor == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


def test_a_failing_shard_holds_up_no_other_and_is_tried_in_the_next_round(backfill):
    states = definition(backfill)["States"]
    shards = states["Shards"]["ItemProcessor"]["States"]
    (caught,) = shards["Shard"]["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"] and shards[caught["Next"]]["End"]
    assert any(rule["Next"] == "Next round" for rule in states["Merged"]["Choices"])


def test_a_backfill_may_invoke_its_function_and_run_its_shards_and_nothing_else(backfill):
    rights = statements(backfill.resources["BackfillRole"])
    rights += backfill.resources["ShardsPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    found = {(action, right["Resource"]) for right in rights for action in listed(right["Action"])}
    states = "arn:aws:states:us-east-1:123456789012"
    assert {(action, resource) for action, resource in found if not action.startswith("logs:")} == {
        ("lambda:InvokeFunction", BACKFILLER),
        ("states:StartExecution", f"{states}:stateMachine:backfill"),
        ("states:DescribeExecution", f"{states}:execution:Backfill.Name:*"),
        ("states:StopExecution", f"{states}:execution:Backfill.Name:*"),
        ("states:RedriveExecution", f"{states}:execution:Backfill.Name/Shards:*"),
    }
    assert definition(backfill)["States"]["Shards"]["Label"] == "Shards"
    # It may neither read nor write the content of logs.
    logs = {action.removeprefix("logs:") for action, _ in found if action.startswith("logs:")}
    assert all("Deliver" in action or action in LOGS_OTHERS for action in logs)
    (trusted,) = backfill.resources["BackfillRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "states.amazonaws.com"}
    assert trusted["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def made(*given):
    """The commands that `make backfill` would run."""
    command = ["make", "-n", "--no-print-directory", "-C", ROOT, "backfill", *given]
    return subprocess.run(command, text=True, capture_output=True)


@pytest.mark.parametrize(
    "given, event",
    [
        (["FROM=2026-08-24T00:00:00Z"], {"from": "2026-08-24T00:00:00Z"}),
        (
            ["FROM=a", "TO=b", "STREAMS=audit,file_events", "REQUESTS=20", "HOURS=100"],
            {
                "from": "a",
                "to": "b",
                "streams": ["audit", "file_events"],
                "requests_per_minute": 20,
                "expires_after_hours": 100,
            },
        ),
    ],
)
def test_make_starts_a_backfill_with_what_plan_takes(given, event):
    said = made(*given).stdout
    assert json.loads(re.search(r"infra/backfill.sh dev '(.*)'", said)[1]) == event
    code = (ROOT / "src" / "edge" / "event.rs").read_text("utf-8")
    assert all(f'"{field}"' in code for field in event)


def test_make_asks_for_the_beginning_of_a_backfill():
    refused = made()
    assert refused.returncode and refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1 and "FROM=" in refused.stderr


def tables():
    stack = Rendered(source(INFRA / "athena.yaml"), RecordsBucketName="b")
    found = [resource["Properties"] for resource in stack.resources.values() if resource["Type"] == "AWS::Glue::Table"]
    return {
        properties["TableInput"]["Name"]: properties
        for properties in found
        if properties["TableInput"]["TableType"] == "EXTERNAL_TABLE"
    }


def test_every_stream_of_the_code_has_a_table_and_so_do_their_states_and_the_responders_trail_and_all_are_alike():
    code = (ROOT / "src" / "core" / "stream.rs").read_text("utf-8")
    streams = set(re.findall(r'^    [A-Z]\w+: "(\w+)", [A-Z]', code, re.MULTILINE))
    (trail,) = re.findall(r'TRAIL: &str = "(\w+)"', (ROOT / "src" / "bucket" / "records.rs").read_text("utf-8"))
    assert len(streams) > 10 and set(tables()) >= streams | {"collector_health", trail}
    alike = {json.dumps(properties, sort_keys=True).replace(name, "X") for name, properties in tables().items()}
    assert len(alike) == 1


def test_a_table_has_its_partitions_where_the_collector_puts_objects():
    found = tables()["file_events"]["TableInput"]
    template = found["Parameters"]["storage.location.template"]
    place = template.replace("${dt}", "2026-11-21").replace("${hour}", "13")
    assert place == "s3://b/code42/file_events/dt=2026-11-21/hour=13/"
    assert [key["Name"] for key in found["PartitionKeys"]] == ["dt", "hour"]
    assert "dt=2026-11-21/hour=13/" in (ROOT / "docs" / "data.md").read_text("utf-8")


def test_a_line_is_one_column():
    """The separator can't occur unescaped in JSON, so a record is always one column."""
    serde = tables()["audit"]["TableInput"]["StorageDescriptor"]["SerdeInfo"]["Parameters"]
    assert serde["field.delim"] == "\x01"
    assert "\x01" not in json.dumps({"text": "\x01"})


def test_saved_queries_read_tables_that_there_are_and_no_more_days_than_they_say():
    """For queries over the tables. tests/answers checks those over the views."""
    resources = source(INFRA / "athena.yaml")["Resources"].items()
    queries = [
        found["Properties"]
        for name, found in resources
        if found["Type"] == "AWS::Athena::NamedQuery" and not name.startswith("Query")
    ]
    assert len(queries) == 3
    for query in queries:
        assert set(re.findall(r"FROM (\w+)", query["QueryString"])) <= set(tables())
        assert "WHERE dt >=" in query["QueryString"]
