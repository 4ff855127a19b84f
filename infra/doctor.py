"""doctor.py ENV: finds faults in the deployment of ENV, now or to be expected, and names the command that mends each.

It changes nothing: it reads settings, and asks AWS and the API. Needs Python 3.11 and the AWS CLI.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):
    sys.exit(f"  MEND  Python is {sys.version.split()[0]}, and this and make deploy take 3.11 or newer\n          https://www.python.org")
import tomllib  # noqa: E402  (not there before 3.11)

ROOT = Path(__file__).resolve().parents[1]
# Lambda lets an account reserve nothing of its last hundred.
KEPT_FOR_OTHERS = 100
# A stack in one of these states can't be updated.
DEAD_ENDS = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}


class Refused(Exception):
    """The AWS CLI's error message."""


def aws(*arguments: str) -> Any:
    done = subprocess.run(["aws", *arguments, "--output", "json"], text=True, capture_output=True, env=ENVIRONMENT)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Refused(lines[-1].strip() if lines else f"aws ended with {done.returncode}")
    return json.loads(done.stdout or "{}")


# A minute of retries would be too long here.
ENVIRONMENT = os.environ | {"AWS_MAX_ATTEMPTS": os.environ.get("AWS_MAX_ATTEMPTS", "2"), "AWS_PAGER": ""}


class Doctor:
    def __init__(self, env: str) -> None:
        self.env = env
        self.stack = f"incydr-collector-{env}"
        self.to_mend = 0
        self.account = ""
        self.given = self.settings()
        self.outputs: dict[str, str] = {}

    def good(self, text: str) -> None:
        print(f"  ok    {text}")

    def note(self, text: str, command: str = "") -> None:
        print(f"  note  {text}" + (f"\n          {command}" if command else ""))

    def mend(self, text: str, command: str) -> None:
        self.to_mend += 1
        print(f"  MEND  {text}\n          {command}")

    def settings(self) -> dict[str, str]:
        """The parameters in samconfig.toml."""
        config = tomllib.loads((ROOT / "infra" / "samconfig.toml").read_text("utf-8"))
        given = config.get(self.env, {}).get("global", {}).get("parameters", {}).get("parameter_overrides", [])
        return dict(item.split("=", 1) for item in given)

    def of(self, name: str, default: str = "") -> str:
        return self.given.get(name, default)

    def run(self) -> int:
        print(f"{self.stack}: nothing is changed by this\n")
        if not self.tools():
            return 1
        if self.caller():
            for check in [self.region, self.deployed, self.concurrency, self.bucket, self.keys, self.secret]:
                self.guarded(check)
        self.guarded(self.api)
        if self.outputs:
            self.guarded(self.notices)
            self.guarded(self.runs)
        print(f"\n{self.to_mend} to mend" if self.to_mend else "\nnothing to mend")
        return 1 if self.to_mend else 0

    def guarded(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Refused as refused:
            self.note(f"could not look at {check.__name__}: {refused}")

    def tools(self) -> bool:
        if not shutil.which("aws"):
            self.mend("the AWS CLI is not here", "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html")
            return False
        for tool, arguments, needed_for, command in [
            ("aws", ["--version"], "everything", ""),
            ("sam", ["--version"], "make deploy", "pip install aws-sam-cli"),
            ("cargo", ["--version"], "building", "https://rustup.rs; a release's zip needs no build: CodeBucket, CodeKey"),
            ("cargo-lambda", ["--version"], "building for Lambda", "pip install cargo-lambda"),
        ]:
            if not shutil.which(tool):
                self.note(f"{tool} is not here; {needed_for} needs it", command)
                continue
            said = subprocess.run([tool, *arguments], text=True, capture_output=True)
            version = (said.stdout or said.stderr).strip().splitlines()
            self.good(f"{tool}: {version[0] if version else 'it says no version'}")
        return True

    def caller(self) -> bool:
        try:
            identity = aws("sts", "get-caller-identity")
        except Refused as refused:
            self.mend(f"AWS doesn't take your credentials: {refused}", "aws configure sso, or: aws configure")
            return False
        self.account = identity["Account"]
        self.good(f"account {self.account}, as {identity['Arn']}")
        if identity["Arn"].endswith(":root"):
            self.note("that is the account's root user: deploy with a role or user of its own instead")
        return True

    def region(self) -> None:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or self.configured("region")
        if not region:
            return self.mend("no region is chosen", "aws configure set region <region>")
        self.good(f"region {region}")

    def configured(self, name: str) -> str:
        return subprocess.run(["aws", "configure", "get", name], text=True, capture_output=True).stdout.strip()

    def deployed(self) -> None:
        """Parameters of the deployed stack override those of samconfig.toml."""
        try:
            (facts,) = aws("cloudformation", "describe-stacks", "--stack-name", self.stack)["Stacks"]
        except Refused as refused:
            if "does not exist" not in str(refused):
                raise
            if not self.given:
                self.mend(f"infra/samconfig.toml has no parameters for {self.env}", "add [ENV.global.parameters], as for dev")
            return self.note("not deployed yet; the name of the stack is free", f"make deploy ENV={self.env}")
        status = facts["StackStatus"]
        if status in DEAD_ENDS:
            return self.mend(
                f"the stack is left of a deployment that failed ({status}), and can't be deployed over",
                f"aws cloudformation delete-stack --stack-name {self.stack}",
            )
        self.good(f"deployed: {status}")
        deployed = {it["ParameterKey"]: it["ParameterValue"] for it in facts.get("Parameters", [])}
        for name, value in self.given.items():
            if deployed.get(name, value) != value:
                self.note(f"{name} is {deployed[name]}, and {value} in infra/samconfig.toml", f"make deploy ENV={self.env}")
        self.given = deployed
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in facts.get("Outputs", [])}
        if self.of("ScheduleState") == "DISABLED":
            self.note(
                "the schedule is off: nothing is collected",
                f"ScheduleState=ENABLED in infra/samconfig.toml, then: make deploy ENV={self.env}",
            )

    def concurrency(self) -> None:
        limit = aws("lambda", "get-account-settings")["AccountLimit"]
        all_, free = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
        wanted = 0 if self.outputs else int(self.of("ReservedConcurrency", "0"))
        if free - wanted < KEPT_FOR_OTHERS and wanted:
            return self.mend(
                f"ReservedConcurrency={wanted} will be refused: of the {all_} runs at once that the account may have "
                f"{free} are free, and {KEPT_FOR_OTHERS} must stay so",
                "ReservedConcurrency=0 (the lease keeps runs apart all the same), or ask for more: "
                "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
                "--desired-value 1000",
            )
        self.good(f"{all_} functions may run at once, {free} of them reserved for none")

    def bucket(self) -> None:
        for name in ["RecordsBucketName", "StateBucketName"]:
            bucket = self.of(name)
            if bucket in ("", "CREATE"):
                continue
            owner = self.of("BucketOwner") or self.account
            try:
                aws("s3api", "head-bucket", "--bucket", bucket, "--expected-bucket-owner", owner)
            except Refused as refused:
                if "404" in str(refused):
                    self.mend(f"{name}: there is no bucket {bucket}", f"aws s3api create-bucket --bucket {bucket} ...")
                else:
                    self.mend(
                        f"{name}: you may not look at {bucket}, or it isn't {owner}'s: {refused}",
                        "BucketOwner=<its account>, and its policy as infra/README.md has it",
                    )
                continue
            self.good(f"{name}: {bucket} is there")
            if name == "RecordsBucketName" and not self.of("StateBucketName") and self.is_locked(bucket):
                self.mend(f"{bucket} has a default retention, under which the checkpoint can't be replaced", "StateBucketName=CREATE")
        code = self.of("CodeBucket")
        if code and not self.outputs:
            try:
                aws("s3api", "head-object", "--bucket", code, "--key", self.of("CodeKey"))
                self.good(f"the zip is at s3://{code}/{self.of('CodeKey')}")
            except Refused as refused:
                self.mend(
                    f"the zip can't be read at s3://{code}/{self.of('CodeKey')}: {refused}",
                    f"aws s3 cp <zip> s3://{code}/{self.of('CodeKey')}",
                )

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
                    f"aws kms put-key-policy --key-id {key} --policy-name default --policy file://<as in infra/README.md>",
                )

    def secret(self) -> None:
        secret = self.outputs.get("SecretArn") or self.of("SecretArn")
        if not secret:
            return
        fill = (
            f"aws secretsmanager put-secret-value --secret-id {secret} "
            """--secret-string '{"client_id": "key-...", "client_secret": "..."}'"""
        )
        try:
            facts = aws("secretsmanager", "describe-secret", "--secret-id", secret)
        except Refused as refused:
            return self.mend(f"the secret can't be found: {refused}", "SecretArn=<its full ARN>, or leave it out and have one made")
        if not any("AWSCURRENT" in stages for stages in facts.get("VersionIdsToStages", {}).values()):
            return self.mend("the secret is empty", fill)
        self.good("the secret is filled (what is in it was not looked at)")
        key = facts.get("KmsKeyId", "")
        own = {self.of("KmsKeyArn"), self.of("SecretKmsKeyArn"), self.outputs.get("KmsKeyArn", "")}
        if key and not key.endswith("alias/aws/secretsmanager") and key not in own:
            self.mend(f"the secret has a key of its own, which the function may not use: {key}", f"SecretKmsKeyArn={key}")

    def api(self) -> None:
        address = self.of("BaseUrl")
        if not address:
            return self.mend("BaseUrl is not given", "BaseUrl=https://api.<region>.code42.com in infra/samconfig.toml")
        try:
            urllib.request.urlopen(address, timeout=10)
        except urllib.error.HTTPError:
            pass  # It answers: what, doesn't matter without a token.
        except OSError as error:
            reason = getattr(error, "reason", error)
            return self.mend(
                f"{address} doesn't answer from here: {reason}",
                "BaseUrl=<the address in your Incydr console's API pages>; or this machine needs its proxy: HTTPS_PROXY",
            )
        self.good(f"{address} answers")

    def notices(self) -> None:
        bucket, notify = self.of("RecordsBucketName"), self.of("Notify", "NONE")
        if not bucket or notify == "NONE":
            return
        found = aws("s3api", "get-bucket-notification-configuration", "--bucket", bucket)
        target = self.outputs.get("NoticesTopicArn" if notify == "SNS" else "NoticesQueueArn", "")
        told = "EventBridgeConfiguration" in found if notify == "EVENTBRIDGE" else target in json.dumps(found)
        if told:
            return self.good(f"{bucket} tells of new objects")
        others = [name for name in found if name.endswith(("Configuration", "Configurations"))]
        with_others = f" (it has {', '.join(others)}, which this replaces: add them)" if others else ""
        self.mend(
            f"nobody is told of new objects: {bucket} is yours, and so are its notifications{with_others}",
            f"aws s3api put-bucket-notification-configuration --bucket {bucket} ... as infra/README.md has it, for {target or notify}",
        )

    def runs(self) -> None:
        """Asks the function itself. Both actions write nothing."""
        answer = self.invoke("probe")
        if error := answer.get("errorType"):
            return self.mend(f"probe: {error}: {answer.get('errorMessage', '')[:300]}", f"make logs ENV={self.env}")
        for stream, facts in answer.get("streams", {}).items():
            if stream in self.of("Streams").split(",") and facts.get("permitted") is False:
                self.mend(
                    f"{stream} is not permitted: the API client lacks {facts.get('permission')}",
                    "Incydr's console: Integrations > API Clients; or leave the stream out of Streams",
                )
        self.good(f"probe: the API answers the function, access {answer.get('access')}")
        answer = self.invoke("status")
        if answer.get("errorType") == "InvalidEvent":
            return self.note("the deployed collector has no action status yet", f"make deploy ENV={self.env}")
        for stream, facts in answer.get("streams", {}).items():
            if facts.get("state") in ("error", "stopping", "stopped") and facts.get("error"):
                self.mend(
                    f"{stream} is {facts['state']} since {facts.get('since')}: {facts['error'].get('message', '')[:300]}",
                    f"""make invoke ENV={self.env} EVENT='{{"action": "restart"}}', once its cause is mended""",
                )
        self.good("status: see above for each stream that is not collecting")

    def invoke(self, action: str) -> dict[str, Any]:
        command = [ROOT / "infra" / "invoke.sh", self.env, json.dumps({"action": action})]
        done = subprocess.run(command, text=True, capture_output=True)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            raise Refused(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer") from None


def leaves_it_to_iam(policy: dict[str, Any], account: str) -> bool:
    """Whether a statement allows the account itself. Without that, IAM's policies have no effect."""
    for statement in policy["Statement"]:
        principal = statement.get("Principal", {})
        named = principal.get("AWS", []) if isinstance(principal, dict) else principal
        named = [named] if isinstance(named, str) else named
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        is_account = any(re.fullmatch(rf"\*|{account}|arn:aws[a-z-]*:iam::{account}:root", name) for name in named)
        if statement["Effect"] == "Allow" and is_account and {"kms:*", "kms:Decrypt"} & set(actions):
            return True
    return False


if __name__ == "__main__":
    sys.exit(Doctor(sys.argv[1]).run())
