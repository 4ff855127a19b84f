"""Loads infra/athena.yaml unchanged: CloudFormation's functions become objects with their names."""

from pathlib import Path
from typing import Any

import yaml

ATHENA = Path(__file__).resolve().parents[2] / "infra" / "athena.yaml"


class Loader(yaml.SafeLoader):
    pass


def function(loader: Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    kinds = {yaml.ScalarNode: loader.construct_scalar, yaml.MappingNode: loader.construct_mapping}
    value = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else kinds[type(node)](node)
    return {name: value}


Loader.add_multi_constructor("!", function)


def resources(kind: str) -> dict[str, dict[str, Any]]:
    loaded = yaml.load(ATHENA.read_text("utf-8"), Loader)
    return {name: found["Properties"] for name, found in loaded["Resources"].items() if found["Type"] == kind}


def views() -> dict[str, dict[str, Any]]:
    tables = [found["TableInput"] for found in resources("AWS::Glue::Table").values()]
    return {table["Name"]: table for table in tables if table["TableType"] == "VIRTUAL_VIEW"}
