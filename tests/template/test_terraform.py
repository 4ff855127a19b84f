"""The Terraform module agrees with the template that it wraps. Its HCL is parsed and compared."""

import json
import re
import shutil
import subprocess

import hcl2
import pytest
from rendered import ROOT, source

MODULE = ROOT / "infra" / "terraform"
# SAM builds the zip, Terraform doesn't, so it is a variable.
REQUIRED = {"CodeBucket", "CodeKey"}
BOOLEAN = ["true", "false"]


def read(name):
    return hcl2.loads((MODULE / name).read_text("utf-8"))


def plain(value):
    """A parsed value. The parser keeps quotes around text and ${} around expressions."""
    if isinstance(value, str) and value.startswith('"'):
        return json.loads(value).replace("$${", "${")
    if isinstance(value, str):
        return re.sub(r"^\$\{(.*)\}$", r"\1", value, flags=re.DOTALL)
    return value


def blocks(found):
    return {
        plain(name): {key: plain(value) for key, value in block.items()}
        for entry in found
        for name, block in entry.items()
    }


def in_terraform(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def quoted(text):
    return json.dumps(text).replace("${", "$${")


def limits(name, facts):
    """The template's limits of a parameter, as Terraform's condition."""
    variable = f"var.{in_terraform(name)}"
    if facts.get("AllowedValues") == BOOLEAN or "List" in facts["Type"]:
        return []
    found = []
    if "AllowedValues" in facts:
        found.append(f"contains([{', '.join(as_hcl(facts, value) for value in facts['AllowedValues'])}], {variable})")
    if "AllowedPattern" in facts:
        pattern = facts["AllowedPattern"]
        # Terraform's patterns have no lookahead.
        if ahead := re.match(r"\^\(\?!([^)]*)\)", pattern):
            found.append(f"!startswith({variable}, {quoted(ahead[1])})")
            pattern = "^" + pattern[ahead.end() :]
        found.append(f"can(regex({quoted(pattern)}, {variable}))")
    if "MinValue" in facts:
        found.append(f"{variable} >= {facts['MinValue']}")
    if "MaxValue" in facts:
        found.append(f"{variable} <= {facts['MaxValue']}")
    if "MaxLength" in facts:
        found.append(f"length({variable}) <= {facts['MaxLength']}")
    return [" && ".join(found)] if found else []


def as_hcl(facts, value):
    return str(value) if facts["Type"] == "Number" else quoted(str(value))


@pytest.fixture(scope="module")
def template():
    return source()


@pytest.fixture(scope="module")
def variables():
    return blocks(read("variables.tf")["variable"])


@pytest.fixture(scope="module")
def stack():
    resources = {plain(kind): blocks([block]) for it in read("main.tf")["resource"] for kind, block in it.items()}
    return resources["aws_cloudformation_stack"]["collector"]


def test_every_parameter_is_a_variable_and_no_other_is(template, variables):
    assert list(variables) == ["stack_name", "tags", *map(in_terraform, template["Parameters"])]


def test_every_variable_is_handed_over_by_its_parameters_name(template, stack):
    handed_over = {name: plain(value) for name, value in stack["parameters"].items() if name != "__is_block__"}
    assert handed_over == {
        name: f'join(",", var.{in_terraform(name)})' if "List" in facts["Type"] else f"var.{in_terraform(name)}"
        for name, facts in template["Parameters"].items()
    }


def test_every_variable_has_the_type_default_and_description_of_its_parameter(template, variables):
    for name, facts in template["Parameters"].items():
        variable = variables[in_terraform(name)]
        assert variable["description"] == " ".join(facts["Description"].split())
        is_list, is_number = "List" in facts["Type"], facts["Type"] == "Number"
        is_boolean = facts.get("AllowedValues") == BOOLEAN
        kind = "list(string)" if is_list else "bool" if is_boolean else "number" if is_number else "string"
        assert variable["type"] == kind and variable["nullable"] is False
        if name in REQUIRED or "Default" not in facts:
            assert "default" not in variable, name
            continue
        default = facts["Default"]
        assert variable["default"] == ([] if is_list else default == "true" if is_boolean else default), name


def test_every_limit_of_a_parameter_is_one_of_its_variable(template, variables):
    for name, facts in template["Parameters"].items():
        rules = variables[in_terraform(name)].get("validation", [])
        required = [f'var.{in_terraform(name)} != ""'] if name in REQUIRED else []
        assert [plain(rule["condition"]) for rule in rules] == limits(name, facts) + required, name
        for rule in rules:
            # It names the variable and is a sentence, as Terraform requires.
            message = plain(rule["error_message"])
            assert message.startswith(in_terraform(name) + " must ") and message.endswith(".")


def test_every_output_of_the_stack_is_one_of_the_module(template):
    outputs = blocks(read("outputs.tf")["output"])
    assert list(outputs) == list(map(in_terraform, template["Outputs"]))
    for name, facts in template["Outputs"].items():
        output = outputs[in_terraform(name)]
        assert output["description"] == facts["Description"]
        assert output["value"] == f'lookup(aws_cloudformation_stack.collector.outputs, "{name}", null)'


def test_the_module_wraps_the_template_itself(stack):
    (local,) = read("main.tf")["locals"]
    path = plain(local["template"]).replace("${path.module}", str(MODULE))
    assert (MODULE / path).resolve() == ROOT / "template.yaml"
    # CloudFormation takes at most 51,200 bytes as text.
    assert "template_body" not in stack and "aws_s3_object.template.key" in stack["template_url"]
    assert [plain(capability) for capability in stack["capabilities"]] == ["CAPABILITY_IAM"]


def test_the_modules_page_names_what_must_be_given(template):
    page = (MODULE / "README.md").read_text("utf-8")
    needed = [name for name, facts in template["Parameters"].items() if "Default" not in facts or name in REQUIRED]
    assert all(re.search(rf"^\s*{in_terraform(name)}\s+=", page, re.MULTILINE) for name in needed)


@pytest.mark.skipif(not shutil.which("terraform"), reason="Terraform is not here")
def test_the_module_is_written_as_terraform_writes_it():
    done = subprocess.run(["terraform", "fmt", "-check", "-diff", MODULE], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_a_stack_whose_template_is_too_long_as_text_is_named_on_the_page():
    """CloudFormation takes 51,200 bytes of a template's text; Terraform needs a bucket for more."""
    page = (MODULE / "README.md").read_text("utf-8")
    for path in sorted((ROOT / "infra").glob("*.yaml")):
        assert (path.stat().st_size > 51_200) == (f"`{path.name}` is larger" in page), path.name


GIVEN = {"base_url": "https://api.us.code42.com", "code_bucket": "releases", "code_key": "collector.zip"}


@pytest.mark.skipif(not shutil.which("terraform"), reason="Terraform is not here")
@pytest.mark.parametrize(
    "more, refused",
    [
        ({}, None),
        ({"code_key": ""}, "code_key must be given"),
        ({"base_url": "https://evil.example"}, "base_url must be https://api"),
        ({"s3_prefix": "incydr-collector/x/"}, "s3_prefix must end in a slash"),
        ({"timeout": 9}, "timeout must be 10 to 900"),
        ({"interval": "2-minutes"}, "interval must be one of"),
        ({"streams": "audit,users"}, None),
        ({"streams": "audit,file_event"}, "streams must be names of streams"),
        ({"streams": "audit,"}, "streams must be names of streams"),
        ({"streams": ",audit"}, "streams must be names of streams"),
        ({"reconcile_minutes": ""}, None),
    ],
)
def test_terraform_takes_and_refuses_as_the_template_does(tmp_path, more, refused):
    """Checks only the variables. Whatever needs the AWS provider can't run without it."""
    shutil.copy(MODULE / "variables.tf", tmp_path)
    given = [f"-var={name}={value}" for name, value in (GIVEN | more).items()]
    done = subprocess.run(
        ["terraform", f"-chdir={tmp_path}", "plan", "-input=false", "-no-color", *given], text=True, capture_output=True
    )
    said = " ".join(re.sub(r"[│╷╵]", " ", done.stderr).split())
    assert done.returncode == (1 if refused else 0), said
    assert not refused or refused in said, said
