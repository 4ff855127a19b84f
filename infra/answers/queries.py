"""The saved queries: queries/*.sql, each with its title, its description, its panel and its variables."""

import re
from dataclasses import dataclass

from views import HERE


@dataclass(frozen=True)
class Query:
    name: str
    title: str
    says: str
    panel: str
    # The variables that a dashboard replaces: the name, and the text in the saved query.
    variables: dict[str, str]
    sql: str

    def with_variables(self, values: dict[str, str]) -> str:
        """Returns the query with these SQL literals in place of the saved query's."""
        text = self.sql
        for name, held in self.variables.items():
            assert f"'{held}'" in text, f"{self.name}: {held} is not in it"
            text = text.replace(f"'{held}'", values[name])
        return text


def read(name: str, text: str) -> Query:
    heads = re.findall(r"^-- (\w+): (.*)$", text, re.MULTILINE)
    one = {head: value for head, value in heads if head != "variable"}
    variables = dict(value.split(" = ", 1) for head, value in heads if head == "variable")
    sql = re.sub(r"^-- .*\n", "", text, flags=re.MULTILINE)
    return Query(name, one["title"], one["says"], one["panel"], variables, sql)


def all() -> list[Query]:
    return sorted(
        (read(path.stem, path.read_text("utf-8")) for path in (HERE / "queries").glob("*.sql")),
        key=lambda query: query.title,
    )
