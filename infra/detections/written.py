"""The Sigma rules in their original form."""

from dataclasses import dataclass
from pathlib import Path

from sigma.correlations import SigmaCorrelationRule
from sigma.rule import SigmaRule

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Correlation:
    """Several events of one rule, or of several rules, with the same field value within a time."""

    rule: SigmaCorrelationRule
    of: list[SigmaRule]

    @property
    def by(self) -> str:
        (field,) = self.rule.group_by
        return field

    @property
    def least(self) -> int:
        """The least number of events, or of different rules."""
        return self.rule.condition.count if self.is_count else len(self.of)

    @property
    def is_count(self) -> bool:
        return self.rule.type.name == "EVENT_COUNT"

    @property
    def within(self) -> str:
        """For example `1h` or `7d`."""
        return self.rule.timespan.spec


Rule = SigmaRule | Correlation


def rules() -> dict[str, Rule]:
    """By name, in order. A rule is parsed again for each call, because pipelines change it."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted((HERE / "rules").glob("*.yml"))}
    single = {name: SigmaRule.from_yaml(text) for name, text in texts.items() if "\ncorrelation:" not in text}
    by_name = {rule.name: name for name, rule in single.items()}
    made: dict[str, Rule] = {}
    for name, text in texts.items():
        if name in single:
            made[name] = single[name]
            continue
        correlation = SigmaCorrelationRule.from_yaml(text)
        of = [SigmaRule.from_yaml(texts[by_name[reference.reference]]) for reference in correlation.rules]
        made[name] = Correlation(correlation, of)
    return made


def head(rule: Rule) -> SigmaRule | SigmaCorrelationRule:
    return rule.rule if isinstance(rule, Correlation) else rule
