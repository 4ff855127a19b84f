"""Writes the generated files: the views and saved queries of ../athena.yaml, the dashboards, and the mapping's
documentation. `make answers-files` runs it; needs only Python."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import dashboards
import ocsf
import queries
import views
from views import HERE, View, type_names

ATHENA = HERE.parent / "athena.yaml"
# The generated text is between these lines.
BEGIN = "  # {part}, made by answers/generate.py, from here on.\n"
END = "  # {part}, made by answers/generate.py, up to here.\n"


def logical(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def view_resource(view: View) -> str:
    """A view in Athena's own form: Glue stores it as a table with the view's text."""
    definition = {
        "catalog": "awsdatacatalog",
        "schema": "${Database}",
        "columns": [{"name": column.name, "type": type_names(column.type)[0]} for column in view.columns],
        "originalSql": view.sql(),
    }
    columns = "".join(
        f"            - {{Name: {column.name}, Type: {json.dumps(type_names(column.type)[1])}}}\n" for column in view.columns
    )
    text = json.dumps(definition, ensure_ascii=False, separators=(",", ":"))
    assert text.count("${") == 1, f"{view.name} has what CloudFormation would take for a reference"
    return f"""  View{logical(view.name)}:
    Type: AWS::Glue::Table
    Properties:
      CatalogId: !Ref AWS::AccountId
      DatabaseName: !Ref Database
      TableInput:
        Name: {view.name}
        Description: {json.dumps(view.comment)}
        TableType: VIRTUAL_VIEW
        Parameters: {{presto_view: "true", comment: Presto View}}
        ViewExpandedText: /* Presto View */
        ViewOriginalText: !Sub
          - "/* Presto View: ${{View}} */"
          - View:
              Fn::Base64: !Sub |-
                {text}
        StorageDescriptor:
          Columns:
{columns}          SerdeInfo: {{}}

"""


def query_resource(query: queries.Query) -> str:
    sql = "".join(f"        {line}\n" if line else "\n" for line in query.sql.splitlines())
    return f"""  Query{logical(query.name)}:
    Type: AWS::Athena::NamedQuery
    Properties:
      Name: {json.dumps(query.title, ensure_ascii=False)}
      Description: {json.dumps(query.says, ensure_ascii=False)}
      Database: !Ref Database
      WorkGroup: !Ref WorkGroup
      QueryString: |
{sql}
"""


def replaced(text: str, part: str, made: str) -> str:
    before, rest = text.split(BEGIN.format(part=part))
    _, after = rest.split(END.format(part=part))
    return "".join([before, BEGIN.format(part=part), "\n", made, END.format(part=part), after])


def athena(text: str) -> str:
    made = "".join(view_resource(view) for view in (*views.views(), *ocsf.views()))
    text = replaced(text, "Views", made)
    return replaced(text, "Queries", "".join(query_resource(query) for query in queries.all()))


def files() -> dict[Path, Callable[[], str]]:
    return {
        ATHENA: lambda: athena(ATHENA.read_text("utf-8")),
        **{HERE / "dashboards" / name: made for name, made in dashboards.files().items()},
        HERE / "ocsf.md": ocsf.page,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file isn't what is made")
    check = parser.parse_args().check
    stale = []
    for path, made in files().items():
        text = made()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(path.name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
    if check and stale:
        sys.exit(f"not what is made of infra/answers: {', '.join(stale)}. Run `make answers-files`")


if __name__ == "__main__":
    main()
