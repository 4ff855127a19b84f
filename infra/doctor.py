"""doctor.py ENV: finds faults in the deployment of ENV, now or to be expected, and names the command that mends each.

It changes nothing. It reads infra/samconfig.toml, and sends requests to AWS and to the API that only read. Needs Python 3.11 and the
AWS CLI.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import least_python  # noqa: F401
import samconfig
import tools
from key_policy import leaves_it_to_iam, left_to_iam

ROOT = Path(__file__).resolve().parents[1]
# Concurrent runs of an account that Lambda keeps for functions without a reservation.
KEPT_FOR_OTHERS = 100
# States of a stack that refuse another deployment, and what leads out of them.
DEAD_ENDS = dict.fromkeys(["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"], "delete-stack")
DEAD_ENDS |= {"UPDATE_FAILED": "rollback-stack", "UPDATE_ROLLBACK_FAILED": "continue-update-rollback"}
# A stack without resources, left by a change set that was never executed. SAM creates it as if it were not there.
EMPTY = "REVIEW_IN_PROGRESS"
# Where the collector finds what it has done, and what it has stored.
PLACES = ["RecordsBucketName", "S3Prefix", "StateBucketName", "StatePrefix"]
# Of the function's errors about the credentials in the secret: src/secrets.rs and src/incydr/error.rs.
OF_THE_SECRET = re.compile(r'it takes a JSON object with "client_id"|the API refuses the credentials \(')


class Refused(Exception):
    """The AWS CLI's error message."""


def aws(*arguments: str) -> Any:
    done = subprocess.run(["aws", *arguments, "--output", "json"], text=True, capture_output=True, env=ENVIRONMENT)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Refused(lines[-1].strip() if lines else f"aws ended with {done.returncode}")
    return json.loads(done.stdout or "{}")


# Two tries at most: with the CLI's default, an address that doesn't answer would take minutes.
ENVIRONMENT = os.environ | {"AWS_MAX_ATTEMPTS": os.environ.get("AWS_MAX_ATTEMPTS", "2"), "AWS_PAGER": ""}


class Doctor:
    def __init__(self, env: str) -> None:
        self.env = env
        self.stack = f"incydr-collector-{env}"
        self.to_mend = 0
        self.account = ""
        self.region_name = ""
        self.is_readable = True
        self.is_secret_filled = True
        # The parameters that infra/samconfig.toml names, and those of them that the template refuses.
        self.named: set[str] = set()
        self.wrong: set[str] = set()
        # The parameters that the next deployment will have, and those of the last one.
        self.given: dict[str, str] = {}
        self.deployed_with: dict[str, str] = {}
        self.outputs: dict[str, str] = {}

    def good(self, text: str) -> None:
        print(f"  ok    {text}")

    def note(self, text: str, command: str = "") -> None:
        print(f"  note  {text}" + (f"\n          {command}" if command else ""))

    def mend(self, text: str, command: str) -> None:
        self.to_mend += 1
        print(f"  MEND  {text}\n          {command}")

    def settings(self) -> dict[str, str]:
        """The parameters that infra/samconfig.toml gives, without those that the template refuses."""
        try:
            given = samconfig.listed(self.env)
        except samconfig.Unreadable as error:
            self.is_readable = False
            self.mend(*samconfig.not_toml(error)[:2])
            return {}
        for fault in samconfig.faults(self.env, given) if given else ():
            self.mend(fault.text, fault.mend)
            self.wrong.add(fault.name)
        values = samconfig.values(given)
        self.named = set(values)
        return {name: value for name, value in values.items() if name not in self.wrong}

    def of(self, name: str, default: str = "") -> str:
        return self.given.get(name, default)

    def run(self) -> int:
        print(f"{self.stack}: this only reads\n")
        self.given = self.settings()
        builds = bool(self.named) and not self.of("CodeBucket") and "CodeBucket" not in self.wrong
        if not shutil.which("aws"):
            self.tools(builds)
            return 1
        is_known = self.region() and self.caller()
        if is_known:
            self.guarded(self.deployed)
        if not self.is_deployed_otherwise():
            self.tools(builds)
        if is_known:
            for check in [self.concurrency, self.program, self.bucket, self.keys, self.secret]:
                self.guarded(check)
        self.guarded(self.api)
        if self.outputs:
            self.guarded(self.monitoring)
            self.guarded(self.notices)
            self.guarded(self.runs)
        print(f"\n{self.to_mend} to mend" if self.to_mend else "\nnothing to mend")
        return 1 if self.to_mend else 0

    def guarded(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Refused as refused:
            self.note(f"{check.__name__} was not checked: {refused}")

    def tools(self, builds: bool) -> None:
        say = {"MEND": self.mend, "note": self.note, "ok": lambda text, _: self.good(text)}
        for kind, text, command in tools.findings(self.env, builds):
            say[kind](text, command)

    def is_deployed_otherwise(self) -> bool:
        """Whether the stack was deployed with a zip and without infra/samconfig.toml: by CloudFormation alone, or Terraform."""
        return self.is_readable and not self.named and bool(self.deployed_with.get("CodeBucket"))

    def deploy(self) -> str:
        """The command that deploys again. It must not turn the schedule off."""
        if self.is_deployed_otherwise():
            return "deploy the stack again, in the way in which it was deployed"
        command = f"make deploy ENV={self.env}"
        return f'"ScheduleState=ENABLED", in infra/samconfig.toml, then: {command}' if self.turns_off() else command

    def turns_off(self) -> bool:
        return (self.deployed_with.get("ScheduleState"), self.of("ScheduleState")) == ("ENABLED", "DISABLED")

    def caller(self) -> bool:
        try:
            identity = aws("sts", "get-caller-identity")
        except Refused as refused:
            self.mend(f"AWS refuses your credentials: {refused}", "aws configure sso, or: aws configure")
            return False
        self.account = identity["Account"]
        self.good(f"account {self.account}, as {identity['Arn']}")
        if identity["Arn"].endswith(":root"):
            self.note("this is the account's root user: deploy with a role or another user instead")
        return True

    def region(self) -> bool:
        """SAM and version 1 of the AWS CLI don't read AWS_REGION. Version 2 prefers it."""
        named, read_by_sam = os.environ.get("AWS_REGION", ""), os.environ.get("AWS_DEFAULT_REGION") or self.configured("region")
        region = named or read_by_sam
        if not region:
            self.mend("no region is set", "aws configure set region <region>")
            return False
        if region != read_by_sam:
            self.mend(f"AWS_REGION is {named}, which SAM doesn't read: it would deploy to {read_by_sam or 'no region'}", both(region))
        else:
            self.good(f"region {region}")
        # All requests go to the same region, whatever the CLI's version.
        self.region_name = ENVIRONMENT["AWS_REGION"] = ENVIRONMENT["AWS_DEFAULT_REGION"] = region
        return True

    def configured(self, name: str) -> str:
        return subprocess.run(["aws", "configure", "get", name], text=True, capture_output=True).stdout.strip()

    def deployed(self) -> None:
        """A parameter that infra/samconfig.toml doesn't name keeps the stack's value. The other checks look at both together."""
        facts = self.described(self.stack)
        if not facts or facts["StackStatus"] == EMPTY:
            if not self.named and self.is_readable:
                self.mend(*samconfig.no_such(self.env)[:2])
            return self.note(f"not deployed in {self.region_name}; the name of the stack is free", f"make deploy ENV={self.env}")
        status = facts["StackStatus"]
        if status in DEAD_ENDS:
            self.mend(
                f"a failed deployment left the stack in {status}, in which it can't be deployed again",
                f"aws cloudformation {DEAD_ENDS[status]} --stack-name {self.stack}",
            )
            if DEAD_ENDS[status] == "delete-stack":
                return
        elif status.endswith("_IN_PROGRESS"):
            self.note(f"the stack is changing: {status}. Wait for the end, then ask again", f"make doctor ENV={self.env}")
        else:
            self.good(f"deployed: {status}")
        self.deployed_with = {it["ParameterKey"]: it["ParameterValue"] for it in facts.get("Parameters", [])}
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in facts.get("Outputs", [])}
        if self.is_deployed_otherwise():
            self.note(f"infra/samconfig.toml has no parameters for {self.env}: what the stack has is looked at")
        self.compare()
        self.given = self.deployed_with | self.given
        if self.deployed_with.get("ScheduleState") == "DISABLED":
            where = "in the stack's parameters" if self.is_deployed_otherwise() else "in infra/samconfig.toml"
            self.note("the schedule is off: nothing is collected", f"ScheduleState=ENABLED {where}, then: {self.deploy()}")

    def compare(self) -> None:
        """What the next deployment would change, and what it would not although the file looks so."""
        for name, value in list(self.given.items()):
            held = self.deployed_with.get(name, value)
            if value == held:
                continue
            if name in PLACES and value != self.outputs.get(name):
                self.mend(
                    f"{name} differs from the deployed one: the collector would begin anew there, and store records again",
                    f'put the deployed value back into infra/samconfig.toml: "{name}={held}",',
                )
                del self.given[name]
                continue
            keep = f'to keep it: "{name}={held}", in infra/samconfig.toml'
            is_kept = name == "ScheduleState" and self.turns_off()
            self.note(
                f"{name} is {held or 'empty'} in the stack and {value or 'empty'} in infra/samconfig.toml",
                keep if is_kept else f"{keep}; to change it: {self.deploy()}",
            )
        for name, facts in samconfig.known().items() if self.named else ():
            default = facts.get("Default")
            if name not in self.named and (held := self.deployed_with.get(name, default)) != default:
                self.note(
                    f"{name} is {held} in the stack, and infra/samconfig.toml doesn't name it: the stack keeps that value",
                    f'add "{name}={held}", or with its default: "{name}={default or ""}",',
                )

    def described(self, stack: str) -> dict[str, Any]:
        try:
            (facts,) = aws("cloudformation", "describe-stacks", "--stack-name", stack)["Stacks"]
        except Refused as refused:
            if "does not exist" not in str(refused):
                raise
            return {}
        return facts

    def monitoring(self) -> None:
        facts = self.described(f"{self.stack}-monitoring")
        held = {it["ParameterKey"]: it["ParameterValue"] for it in facts.get("Parameters", [])}
        # Its stack has copies of these two, which say when silence is an alarm.
        for name in ["ScheduleState", "Interval"]:
            if (value := self.outputs.get(name)) and held.get(name, value) != value:
                self.mend(f"the alarms go by {name}={held[name]}, and the collector has {value}", f"make deploy-monitoring ENV={self.env}")
        outputs = {it["OutputKey"]: it["OutputValue"] for it in facts.get("Outputs", [])}
        if topic := outputs.get("AlarmTopicArn"):
            self.subscribers(topic)

    def subscribers(self, topic: str) -> None:
        told = aws("sns", "get-topic-attributes", "--topic-arn", topic)["Attributes"]
        if int(told["SubscriptionsConfirmed"]):
            return self.good(f"the alarms' topic has {told['SubscriptionsConfirmed']} confirmed subscriptions")
        if int(told["SubscriptionsPending"]):
            return self.mend("nobody gets the alarms yet: the subscription is not confirmed", "open the link in the mail that AWS sent to AlarmEmail")
        self.mend(
            f"nobody gets the alarms: {topic} has no subscription",
            f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint <address>",
        )

    def concurrency(self) -> None:
        limit = aws("lambda", "get-account-settings")["AccountLimit"]
        all_, free = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
        # What the stack has reserved is free again for its own next deployment.
        given, has = self.of("ReservedConcurrency", "0"), self.deployed_with.get("ReservedConcurrency", "0")
        wanted = int(given) - int(has) if given.isdigit() and has.isdigit() else 0
        if free - wanted < KEPT_FOR_OTHERS and wanted > 0:
            return self.mend(
                f"ReservedConcurrency={given} will be refused: {free} of the account's {all_} concurrent runs are not reserved, and "
                f"{KEPT_FOR_OTHERS} must stay unreserved",
                "ReservedConcurrency=0 (the lease keeps runs apart in any case), or ask for a larger quota: "
                "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
                "--desired-value 1000",
            )
        self.good(f"concurrency: {all_} runs in the account, {free} of them not reserved")

    def bucket(self) -> None:
        for name in ["RecordsBucketName", "StateBucketName"]:
            bucket = self.of(name)
            if bucket in ("", "CREATE"):
                continue
            owner = self.of("BucketOwner") or self.account
            try:
                found = aws("s3api", "head-bucket", "--bucket", bucket, "--expected-bucket-owner", owner)
            except Refused as refused:
                if "404" in str(refused):
                    self.mend(
                        f"{name}: there is no bucket {bucket}",
                        f"aws s3 mb s3://{bucket} --region {self.region_name} "
                        "# names are unique in all of AWS: if another account has this one, choose another",
                    )
                else:
                    self.mend(
                        f"{name}: you may not look at {bucket}, or {owner} does not own it: {refused}",
                        "BucketOwner=<its account>, and the bucket policy in infra/README.md, Of another account",
                    )
                continue
            if self.is_elsewhere(found):
                self.mend(
                    f"{name}: {bucket} is in {found['BucketRegion']}, and the function would be in {self.region_name}",
                    f"{both(found['BucketRegion'])}, or take a bucket in {self.region_name}",
                )
                continue
            self.good(f"{name}: {bucket} exists")
            self.key_of(name, bucket, owner)
            if name == "RecordsBucketName" and not self.of("StateBucketName") and self.is_locked(bucket):
                self.mend(f"{bucket} has a default retention, so the checkpoint can't be replaced in it", "StateBucketName=CREATE")

    def key_of(self, name: str, bucket: str, owner: str) -> None:
        """Each write would be denied under a key that is none of the function's."""
        # With the header each write names its own key.
        if self.of("EncryptionHeader"):
            return
        try:
            found = aws("s3api", "get-bucket-encryption", "--bucket", bucket, "--expected-bucket-owner", owner)
            (rule,) = found["ServerSideEncryptionConfiguration"]["Rules"]
            key = rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID")
            # It may be a key's id, or an alias.
            facts = aws("kms", "describe-key", "--key-id", key)["KeyMetadata"] if key else {"KeyManager": "AWS"}
        except Refused as refused:
            return self.note(f"{name}: the key of {bucket} was not checked: {refused}")
        own = [self.of("KmsKeyArn"), self.of("StateKmsKeyArn"), self.outputs.get("KmsKeyArn")]
        if facts.get("KeyManager") != "AWS" and facts["Arn"] not in own:
            parameter = {"RecordsBucketName": "KmsKeyArn", "StateBucketName": "StateKmsKeyArn"}[name]
            self.mend(f"{name}: {bucket} has a KMS key which the function may not use: {facts['Arn']}", f"{parameter}={facts['Arn']}")

    def program(self) -> None:
        """The zip is where CodeBucket and CodeKey say, and fits the region and the processor."""
        bucket, key, arch = self.of("CodeBucket"), self.of("CodeKey"), self.of("Architecture", "arm64")
        if not bucket or all(self.of(name) == self.deployed_with.get(name) for name in ["CodeBucket", "CodeKey", "Architecture"]):
            return
        try:
            found = aws("s3api", "head-bucket", "--bucket", bucket)
            aws("s3api", "head-object", "--bucket", bucket, "--key", key)
        except Refused as refused:
            return self.mend(f"the zip can't be read at s3://{bucket}/{key}: {refused}", f"aws s3 cp <zip> s3://{bucket}/{key}")
        if self.is_elsewhere(found):
            return self.mend(
                f"CodeBucket: {bucket} is in {found['BucketRegion']}; Lambda in {self.region_name} takes a zip only from a bucket there",
                f"aws s3 mb s3://<bucket> --region {self.region_name} && aws s3 cp s3://{bucket}/{key} s3://<bucket>/{key}",
            )
        built_for = re.search(r"-(arm64|x86_64)\.zip$", key)
        if built_for and built_for[1] != arch:
            return self.mend(
                f"CodeKey: {key} is built for {built_for[1]}, and Architecture is {arch}: the function would fail at its start",
                f"Architecture={built_for[1]}",
            )
        self.good(f"the zip exists: s3://{bucket}/{key}")

    def is_elsewhere(self, bucket: dict[str, Any]) -> bool:
        """Whether the bucket is in another region than the function. Older versions of the CLI don't tell."""
        return self.region_name not in ("", bucket.get("BucketRegion", self.region_name))

    def is_locked(self, bucket: str) -> bool:
        try:
            found = aws("s3api", "get-object-lock-configuration", "--bucket", bucket)
        except Refused:
            return False
        return "Rule" in found.get("ObjectLockConfiguration", {})

    def keys(self) -> None:
        for name in ["KmsKeyArn", "SecretKmsKeyArn", "StateKmsKeyArn"]:
            key = self.of(name)
            if key in ("", "CREATE"):
                continue
            facts = aws("kms", "describe-key", "--key-id", key)["KeyMetadata"]
            if facts["KeyState"] != "Enabled":
                self.mend(f"{name}: the key is {facts['KeyState']}", f"aws kms enable-key --key-id {key}")
                continue
            policy = json.loads(aws("kms", "get-key-policy", "--key-id", key, "--policy-name", "default")["Policy"])
            names_role = self.outputs.get("RoleArn", "no role yet") in json.dumps(policy)
            if leaves_it_to_iam(policy, key.split(":")[4]) or names_role:
                self.good(f"{name}: the key's policy lets the role use it")
            else:
                self.mend(
                    f"{name}: the key's policy neither leaves access to IAM nor names the function's role",
                    f"aws kms put-key-policy --key-id {key} --policy-name default --policy {shlex.quote(json.dumps(left_to_iam(policy, key)))}",
                )

    def secret_id(self) -> str:
        return self.of("SecretArn") or self.outputs.get("SecretArn", "")

    def fill(self) -> str:
        return (
            f"aws secretsmanager put-secret-value --secret-id {self.secret_id()} --secret-string file://secret.json "
            """# a file of your own with {"client_id": "key-...", "client_secret": "..."}, see docs/deploy.md"""
        )

    def secret(self) -> None:
        if not (secret := self.secret_id()):
            return
        try:
            facts = aws("secretsmanager", "describe-secret", "--secret-id", secret)
        except Refused as refused:
            return self.mend(f"the secret was not found: {refused}", "SecretArn=<its full ARN>, or no SecretArn, and the stack creates one")
        if not any("AWSCURRENT" in stages for stages in facts.get("VersionIdsToStages", {}).values()):
            self.is_secret_filled = False
            return self.mend("the secret is empty", self.fill())
        self.good("the secret is filled (its content was not read)")
        key = facts.get("KmsKeyId", "")
        if not key or key.endswith("alias/aws/secretsmanager"):
            return
        # It may be a key's id, or the ARN of an alias.
        key = aws("kms", "describe-key", "--key-id", key)["KeyMetadata"]["Arn"]
        own = [self.of("SecretKmsKeyArn")] if self.of("SecretKmsKeyArn") else [self.of("KmsKeyArn"), self.outputs.get("KmsKeyArn")]
        if key not in own:
            self.mend(f"the secret has its own KMS key, which the function may not use: {key}", f"SecretKmsKeyArn={key}")

    def api(self) -> None:
        address = self.of("BaseUrl")
        if not address:
            if self.named and "BaseUrl" not in self.named:
                self.mend("there is no BaseUrl", "BaseUrl=https://api.<region>.code42.com in infra/samconfig.toml")
            return
        try:
            urllib.request.urlopen(address, timeout=10)
        except urllib.error.HTTPError:
            pass  # Any status is an answer. Without a token it is an error.
        except OSError as error:
            reason = getattr(error, "reason", error)
            return self.mend(
                f"{address} doesn't answer this machine: {reason}",
                "BaseUrl=<your tenant's address, see docs/deploy.md>; or export HTTPS_PROXY=<proxy>, if this machine needs one",
            )
        self.good(f"{address} answers")

    def notices(self) -> None:
        bucket, notify = self.deployed_with.get("RecordsBucketName"), self.deployed_with.get("Notify", "NONE")
        if not bucket or notify == "NONE":
            return
        found = aws("s3api", "get-bucket-notification-configuration", "--bucket", bucket)
        target = self.outputs.get("NoticesTopicArn" if notify == "SNS" else "NoticesQueueArn", "")
        held = {name: value for name, value in found.items() if name.endswith(("Configuration", "Configurations"))}
        if "EventBridgeConfiguration" in held if notify == "EVENTBRIDGE" else target in json.dumps(held):
            return self.good(f"{bucket} sends notices of new objects")
        # The command replaces all that the bucket has. S3 refuses it with the queue or topic of a stack that was deleted.
        if notify == "EVENTBRIDGE":
            wanted = held | {"EventBridgeConfiguration": {}}
        else:
            kind = "Topic" if notify == "SNS" else "Queue"
            prefix = {"Key": {"FilterRules": [{"Name": "prefix", "Value": self.of("S3Prefix", "code42/")}]}}
            ours = {f"{kind}Arn": target, "Events": ["s3:ObjectCreated:*"], "Filter": prefix}
            others = [it for it in held.get(f"{kind}Configurations", []) if not self.is_former(it[f"{kind}Arn"])]
            wanted = held | {f"{kind}Configurations": [*others, ours]}
        self.mend(
            f"{bucket} sends no notices of new objects to {target or 'EventBridge'}: the stack does not change an existing bucket",
            f"aws s3api put-bucket-notification-configuration --bucket {bucket} "
            f"--notification-configuration {shlex.quote(json.dumps(wanted))}",
        )

    def is_former(self, arn: str) -> bool:
        """Whether CloudFormation made it for an earlier stack of this name."""
        return re.fullmatch(rf"{re.escape(self.stack)}-Notices(Topic)?-\w+", arn.rpartition(":")[2]) is not None

    def runs(self) -> None:
        """The function's answers to probe and status, which write nothing."""
        answer = self.invoke("probe")
        streams = answer.get("streams", {})
        if answer.get("errorType"):
            return self.failed("probe", answer)
        if answer.get("access") is None and not any(isinstance(facts.get("permitted"), bool) for facts in streams.values()):
            why = next((facts["error"].get("message", "") for facts in streams.values() if facts.get("error")), "it tells no reason")
            return self.mend(
                f"the function can't reach the API: {why[:300]}",
                "check BaseUrl, and in a VPC the NAT gateway, the security group and the proxy",
            )
        for stream, facts in streams.items():
            if stream in self.collected() and facts.get("permitted") is False:
                self.mend(
                    f"{stream} is not permitted: the API client lacks {facts.get('permission')}",
                    "add it in the Incydr console, Integrations > API Clients; or leave the stream out of Streams",
                )
        access = f"; the plan has {answer['access']} access" if answer.get("access") else ""
        self.good(f"probe: the API answers the function{access}")
        self.status(self.invoke("status"))

    def status(self, answer: dict[str, Any]) -> None:
        if answer.get("errorType") == "InvalidEvent":
            return self.note("the deployed version has no action status", self.deploy())
        if answer.get("errorType"):
            return self.failed("status", answer)
        streams, failing = answer.get("streams", {}), 0
        enabled = {stream: facts for stream, facts in streams.items() if facts.get("enabled", stream in self.collected())}
        for stream, facts in enabled.items():
            if facts.get("state") in ("error", "stopping", "stopped") and facts.get("error"):
                self.mend(
                    f"{stream} has been in state {facts['state']} since {facts.get('since')}: {facts['error'].get('message', '')[:300]}",
                    f"""make invoke ENV={self.env} EVENT='{{"action": "restart"}}' # after its cause is mended""",
                )
                failing += 1
        self.good(f"status: {len(enabled) - failing} streams without an error")
        if left := [stream for stream in streams if stream not in enabled]:
            self.note(f"not collected any more: {', '.join(left)} (their place stands on the checkpoint)")

    def collected(self) -> list[str]:
        return self.deployed_with.get("Streams", "").split(",")

    def failed(self, action: str, answer: dict[str, Any]) -> None:
        message = answer.get("errorMessage", "")
        is_of_the_secret = OF_THE_SECRET.search(message)
        # An empty secret is told already.
        if self.is_secret_filled or not is_of_the_secret:
            command = self.fill() if is_of_the_secret else f"make logs ENV={self.env}"
            self.mend(f"{action}: {answer['errorType']}: {message[:300]}", command)

    def invoke(self, action: str) -> dict[str, Any]:
        command = [ROOT / "infra" / "invoke.sh", self.env, json.dumps({"action": action})]
        done = subprocess.run(command, text=True, capture_output=True, env=ENVIRONMENT)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            raise Refused(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer") from None


def both(region: str) -> str:
    return f"export AWS_REGION={region} AWS_DEFAULT_REGION={region}"


if __name__ == "__main__":
    sys.exit(Doctor(sys.argv[1]).run())
