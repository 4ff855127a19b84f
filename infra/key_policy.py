"""What a KMS key's policy allows, as far as it matters to the collector's role."""

import re
from typing import Any


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


def left_to_iam(policy: dict[str, Any], key: str) -> dict[str, Any]:
    """The policy with a statement that leaves the key's use to the IAM policies of its account."""
    partition, account = key.split(":")[1], key.split(":")[4]
    statement = {
        "Sid": "LeaveAccessToIam",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
    }
    return policy | {"Statement": [*policy["Statement"], statement]}
