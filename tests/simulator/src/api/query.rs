//! File-event queries: groups of filters over dotted terms (SDK, `queries/file_events.py`).

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    terms::TERMS,
    time::{self, EdgePolicy},
};
use crate::world::Record;

/// More filters than this are refused (vendor's support article).
const MAX_FILTERS: usize = 1024;

#[derive(Debug)]
pub(crate) enum Node {
    /// All must match; below, any must.
    All(Vec<Node>),
    Any(Vec<Node>),
    Filter(Filter),
}

#[derive(Debug)]
pub(crate) struct Filter {
    term: String,
    operator: Operator,
    values: Vec<String>,
    /// The values that are times, or none in their place.
    times: Vec<Option<DateTime<Utc>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    IsAny,
    IsNone,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
    On,
    OnOrAfter,
    OnOrBefore,
    WithinTheLast,
}

/// An error in a query: the type of a `QueryProblem` (`OpenAPI`), and a sentence.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) kind: &'static str,
    pub(crate) why: String,
}

fn wrong(kind: &'static str, why: impl Into<String>) -> Wrong {
    Wrong { kind, why: why.into() }
}

/// The settings and the time that a query depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) edges: EdgePolicy,
    pub(crate) now: DateTime<Utc>,
}

/// Returns the ends of the span that a search for file events or in the audit log asks for. None if the body doesn't
/// have both.
pub fn span_asked(body: &Value) -> Option<[DateTime<Utc>; 2]> {
    if let Some(range) = body["dateRange"].as_object() {
        let end = |name| time::from_epoch_seconds(range.get(name)?.as_f64()?);
        return Some([end("startTime")?, end("endTime")?]);
    }
    let filters = body["groups"].as_array()?.iter().filter_map(|group| group["filters"].as_array()).flatten();
    let of_time: Vec<&Value> = filters.filter(|filter| filter["term"] == "event.inserted").collect();
    let end = |operator: &str| {
        let filter = of_time.iter().find(|filter| filter["operator"] == operator)?;
        time::parse(filter["value"].as_str()?)
    };
    Some([end("ON_OR_AFTER")?, end("ON_OR_BEFORE")?])
}

/// A query's `groupClause` and `groups`.
pub(crate) fn parse(query: &Value) -> Result<Node, Wrong> {
    let groups = query["groups"].as_array().filter(|groups| !groups.is_empty());
    let groups = groups.ok_or_else(|| wrong("MISSING_GROUPS", "groups must hold at least one group"))?;
    let mut filters = 0;
    let nodes = groups.iter().map(|group| node(group, &mut filters)).collect::<Result<_, _>>()?;
    if filters > MAX_FILTERS {
        return Err(wrong("MAX_FILTERS_EXCEEDED", format!("{filters} filters are more than {MAX_FILTERS}")));
    }
    clause(&query["groupClause"], nodes)
}

/// A group of filters, or of further groups.
fn node(group: &Value, count: &mut usize) -> Result<Node, Wrong> {
    if let Some(subgroups) = group["subgroups"].as_array() {
        let nodes = subgroups.iter().map(|group| node(group, count)).collect::<Result<_, _>>()?;
        return clause(&group["subgroupClause"], nodes);
    }
    let filters = group["filters"].as_array().filter(|filters| !filters.is_empty());
    let filters = filters.ok_or_else(|| wrong("MISSING_FILTERS", "a group must hold filters or subgroups"))?;
    *count += filters.len();
    clause(&group["filterClause"], filters.iter().map(filter).collect::<Result<_, _>>()?)
}

fn clause(clause: &Value, nodes: Vec<Node>) -> Result<Node, Wrong> {
    match clause.as_str() {
        None | Some("AND") => Ok(Node::All(nodes)),
        Some("OR") => Ok(Node::Any(nodes)),
        Some(other) => Err(wrong("ILLEGAL_VALUE", format!("unknown clause {other}"))),
    }
}

fn filter(filter: &Value) -> Result<Node, Wrong> {
    let term = filter["term"].as_str().filter(|term| TERMS.contains(term));
    let term = term.ok_or_else(|| wrong("ILLEGAL_VALUE", format!("{} is no term", filter["term"])))?;
    let name = filter["operator"].as_str().unwrap_or("IS");
    let operator = operator(name).ok_or_else(|| wrong("ILLEGAL_OPERATOR", format!("unknown operator {name}")))?;
    let values: Vec<String> = match &filter["value"] {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().map(plain).collect(),
        value => vec![plain(value)],
    };
    let valueless = matches!(operator, Operator::Exists | Operator::DoesNotExist);
    if !valueless && values.is_empty() {
        return Err(wrong("MISSING_VALUE", format!("{term} {name} needs a value")));
    }
    let times = values.iter().map(|value| time::parse(value)).collect();
    Ok(Node::Filter(Filter { term: term.to_owned(), operator, values, times }))
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "IS" => Operator::Is,
        "IS_NOT" => Operator::IsNot,
        "IS_ANY" => Operator::IsAny,
        "IS_NONE" => Operator::IsNone,
        "EXISTS" => Operator::Exists,
        "DOES_NOT_EXIST" => Operator::DoesNotExist,
        "GREATER_THAN" => Operator::GreaterThan,
        "LESS_THAN" => Operator::LessThan,
        "ON" => Operator::On,
        "ON_OR_AFTER" => Operator::OnOrAfter,
        "ON_OR_BEFORE" => Operator::OnOrBefore,
        "WITHIN_THE_LAST" => Operator::WithinTheLast,
        _ => return None,
    })
}

/// A value in the form of a filter: strings without quotes, numbers and booleans as text.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Node {
    pub(crate) fn accepts(&self, record: &Record, at: Circumstances) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.accepts(record, at)),
            Self::Any(nodes) => nodes.iter().any(|node| node.accepts(record, at)),
            Self::Filter(filter) => filter.accepts(record, at),
        }
    }
}

impl Filter {
    fn accepts(&self, record: &Record, at: Circumstances) -> bool {
        // The two terms that nearly every query uses need no parsing of the record.
        match self.term.as_str() {
            "event.inserted" => return self.accepts_time(Some(record.time), at),
            "event.id" => return self.accepts_texts(&[record.id.to_string()]),
            _ => {}
        }
        let mut found = Vec::new();
        values_at(record.fields(), &self.term, &mut found);
        if self.compares_times() {
            let times: Vec<_> = found.iter().filter_map(|value| time::parse(value.as_str()?)).collect();
            return times.into_iter().any(|time| self.accepts_time(Some(time), at));
        }
        self.accepts_texts(&found.into_iter().map(plain).collect::<Vec<_>>())
    }

    fn compares_times(&self) -> bool {
        let always = [Operator::On, Operator::OnOrAfter, Operator::OnOrBefore, Operator::WithinTheLast];
        let sometimes = [Operator::GreaterThan, Operator::LessThan];
        always.contains(&self.operator)
            || (sometimes.contains(&self.operator) && self.times.iter().all(Option::is_some))
    }

    fn accepts_time(&self, time: Option<DateTime<Utc>>, at: Circumstances) -> bool {
        let Some(time) = time else {
            return self.operator == Operator::DoesNotExist;
        };
        let value = || self.times.first().copied().flatten();
        match self.operator {
            Operator::Exists => true,
            Operator::DoesNotExist => false,
            Operator::OnOrAfter => value().is_some_and(|from| at.edges.not_before(time, from)),
            Operator::OnOrBefore => value().is_some_and(|to| at.edges.not_after(time, to)),
            Operator::GreaterThan => value().is_some_and(|from| at.edges.cut(time) > at.edges.cut(from)),
            Operator::LessThan => value().is_some_and(|to| at.edges.cut(time) < at.edges.cut(to)),
            Operator::On => value().is_some_and(|day| time.date_naive() == day.date_naive()),
            Operator::WithinTheLast => self
                .values
                .first()
                .and_then(|value| time::duration(value))
                .is_some_and(|span| time >= at.now - span && time <= at.now),
            Operator::Is | Operator::IsAny => self.any_equal_time(time, at),
            Operator::IsNot | Operator::IsNone => !self.any_equal_time(time, at),
        }
    }

    fn any_equal_time(&self, time: DateTime<Utc>, at: Circumstances) -> bool {
        self.times.iter().flatten().any(|value| at.edges.cut(*value) == at.edges.cut(time))
    }

    /// A list matches if any element does.
    fn accepts_texts(&self, found: &[String]) -> bool {
        let equal = || found.iter().any(|value| self.values.contains(value));
        let compared = |wanted| {
            let bound = self.values.first().and_then(|value| value.parse::<f64>().ok());
            let numbers = found.iter().filter_map(|value| value.parse::<f64>().ok());
            numbers.into_iter().any(|number| bound.and_then(|bound| number.partial_cmp(&bound)) == Some(wanted))
        };
        match self.operator {
            Operator::Is | Operator::IsAny => equal(),
            Operator::IsNot | Operator::IsNone => !equal(),
            Operator::Exists => !found.is_empty(),
            Operator::DoesNotExist => found.is_empty(),
            Operator::GreaterThan => compared(std::cmp::Ordering::Greater),
            Operator::LessThan => compared(std::cmp::Ordering::Less),
            Operator::On | Operator::OnOrAfter | Operator::OnOrBefore | Operator::WithinTheLast => false,
        }
    }
}

/// Collects every value at a dotted term, through lists, without nulls.
pub(crate) fn values_at<'a>(value: &'a Value, term: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| values_at(item, term, found)),
        _ if term.is_empty() => found.push(value),
        Value::Object(members) => {
            let (first, rest) = term.split_once('.').unwrap_or((term, ""));
            if let Some(value) = members.get(first) {
                values_at(value, rest, found);
            }
        }
        _ => {}
    }
}
