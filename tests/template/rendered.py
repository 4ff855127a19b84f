"""The templates as they are deployed, with parameters in place of references."""

import base64
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "incydr",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/incydr/51af3dc0-da77-11e4-872e-1234567db123",
    "AWS::NoValue": None,
}


def source(path: Path = TEMPLATE) -> dict[str, Any]:
    """The template as it is written."""
    return pickle.loads(parsed(path.read_text("utf-8")))


@cache
def parsed(text: str) -> bytes:
    """Parses each template once, because a large one takes seconds. Pickled, so that each caller gets a copy."""
    return pickle.dumps(yaml_parse(text))


class Rendered:
    """The template with every intrinsic function evaluated. A resource's Ref is its logical name in lower case."""

    def __init__(self, template: dict[str, Any], **parameters: Any) -> None:
        self.template = template
        self.stack_name, self.stack_id = PSEUDO["AWS::StackName"], PSEUDO["AWS::StackId"]
        known = template.get("Parameters", {})
        assert set(parameters) <= set(known), set(parameters) - set(known)
        self.values = {name: parameters.get(name, facts.get("Default", f"the {name}")) for name, facts in known.items()}
        self.resources = {
            name: {**resource, "Properties": self.of(resource.get("Properties", {}))}
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }
        self.outputs = {
            name: self.of(output["Value"])
            for name, output in template.get("Outputs", {}).items()
            if "Condition" not in output or self.holds(output["Condition"])
        }

    def holds(self, condition: str) -> bool:
        return bool(self.of(self.template["Conditions"][condition]))

    def refused_by_rules(self) -> list[str]:
        """The template's rules that these parameters violate."""
        return [
            assertion["AssertDescription"]
            for rule in self.template.get("Rules", {}).values()
            if self.of(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.of(assertion["Assert"])
        ]

    def of(self, node: Any) -> Any:
        if isinstance(node, list):
            return [item for item in map(self.of, node) if item is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in FUNCTIONS:
                return FUNCTIONS[name](self, argument)
        worked_out = {name: self.of(value) for name, value in node.items()}
        return {name: value for name, value in worked_out.items() if value is not None}

    def ref(self, name: str) -> Any:
        if name == "AWS::StackName":
            return self.stack_name
        if name == "AWS::StackId":
            return self.stack_id
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.values:
            value = self.values[name]
            is_list = "List" in self.template["Parameters"][name]["Type"]
            return value.split(",") if is_list and isinstance(value, str) else value
        kind = self.template["Resources"][name]["Type"]
        physical = name.lower()
        if kind == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{physical}-AbCdEf"
        if kind == "AWS::SNS::Topic":
            return f"arn:aws:sns:us-east-1:123456789012:{physical}"
        if kind == "AWS::StepFunctions::StateMachine":
            return f"arn:aws:states:us-east-1:123456789012:stateMachine:{physical}"
        return physical

    def get_att(self, argument: Any) -> str:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        kind = self.template["Resources"][name]["Type"]
        if attribute != "Arn":
            return f"{name}.{attribute}"
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{name.lower()}"
        service = kind.split("::")[1].lower()
        return f"arn:aws:{service}:us-east-1:123456789012:{name.lower()}"

    def sub(self, argument: Any) -> str:
        text, more = argument if isinstance(argument, list) else (argument, {})

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in more:
                return str(self.of(more[name]))
            return str(self.get_att(name) if "." in name else self.ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def choose(self, argument: list[Any]) -> Any:
        condition, yes, no = argument
        return self.of(yes if self.holds(condition) else no)

    def find_in_map(self, argument: list[Any]) -> Any:
        name, first, second = map(self.of, argument)
        return self.template["Mappings"][name][first][second]


FUNCTIONS = {
    "Ref": Rendered.ref,
    "Condition": Rendered.holds,
    "Fn::GetAtt": Rendered.get_att,
    "Fn::Sub": Rendered.sub,
    "Fn::If": Rendered.choose,
    "Fn::FindInMap": Rendered.find_in_map,
    "Fn::Select": lambda self, argument: self.of(argument[1])[int(self.of(argument[0]))],
    "Fn::Split": lambda self, argument: self.of(argument[1]).split(argument[0]),
    "Fn::Base64": lambda self, argument: base64.b64encode(self.of(argument).encode()).decode(),
    "Fn::Join": lambda self, argument: self.of(argument[0]).join(map(str, self.of(argument[1]))),
    "Fn::Equals": lambda self, argument: len({str(self.of(side)) for side in argument}) == 1,
    "Fn::Not": lambda self, argument: not self.of(argument[0]),
    "Fn::And": lambda self, argument: all(map(self.of, argument)),
    "Fn::Or": lambda self, argument: any(map(self.of, argument)),
    "Fn::Contains": lambda self, argument: self.of(argument[1]) in self.of(argument[0]),
}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a rendered role or user."""
    policies = role["Properties"].get("Policies", [])
    return [statement for policy in policies for statement in listed(policy["PolicyDocument"]["Statement"])]
