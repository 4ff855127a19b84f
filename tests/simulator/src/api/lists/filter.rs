//! Query parameters that narrow a list.

use chrono::{DateTime, Days, NaiveTime, Utc};
use serde_json::Value;

use crate::{
    api::{page, query, time},
    http::{Reply, Request},
    world::Record,
};

/// The condition of a parameter on a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Asks {
    /// `true` or `false`; 400 for anything else.
    Flag,
    /// The exact text.
    Text,
    /// The same, of these; 400 for anything else.
    Named(&'static [&'static str]),
    /// Any value of the repeated parameter.
    Any,
    /// Text that the member contains, begins or ends with, ignoring case.
    Part,
    Start,
    End,
    /// Whether the list is empty.
    Empty,
    /// One of the values of the parameter, which is repeated or has commas, in the list.
    AnyOf,
    /// A time within a number of days before now, which begin at midnight (SDK, `agents/client.py`); below, a time
    /// outside of them.
    Within,
    NotWithin,
}

/// A parameter, its condition and the member. An empty member is the record itself. One with dots lies in others, also in
/// lists.
pub(in crate::api) type Filter = (&'static str, Asks, &'static str);

type Question<'a> = Box<dyn Fn(&Value) -> bool + 'a>;

pub(super) fn apply(
    filters: &[Filter],
    rows: &mut Vec<Record>,
    request: &Request,
    now: DateTime<Utc>,
) -> Result<(), Reply> {
    for (name, asks, member) in filters {
        let wanted: Vec<String> =
            request.parameters().into_iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        if let Some(last) = wanted.last() {
            let refused = || page::problem(400, &format!("{name} is wrong"), request);
            let fits = question(*asks, last, &wanted, now).ok_or_else(refused)?;
            rows.retain(|record| {
                let fields = record.fields();
                if !member.contains('.') {
                    return fits(if member.is_empty() { fields } else { &fields[member] });
                }
                let mut found = Vec::new();
                query::values_at(fields, member, &mut found);
                found.into_iter().any(&fits)
            });
        }
    }
    Ok(())
}

/// Returns the condition, or none for a value that makes no sense.
fn question<'a>(asks: Asks, wanted: &'a str, any_of: &'a [String], now: DateTime<Utc>) -> Option<Question<'a>> {
    let lower = wanted.to_lowercase();
    let text = |value: &Value| value.as_str().map(str::to_lowercase).unwrap_or_default();
    let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    Some(match asks {
        Asks::Flag => {
            let flag: bool = lower.parse().ok()?;
            Box::new(move |value| *value == flag)
        }
        Asks::Empty => {
            let empty: bool = lower.parse().ok()?;
            Box::new(move |value| is_empty(value) == empty)
        }
        Asks::Named(known) if !known.contains(&wanted) => return None,
        Asks::Text | Asks::Named(_) => Box::new(move |value| *value == *wanted),
        Asks::Any => Box::new(move |value| any_of.iter().any(|wanted| *value == **wanted)),
        Asks::Part => Box::new(move |value| text(value).contains(&lower)),
        Asks::Start => Box::new(move |value| text(value).starts_with(&lower)),
        Asks::End => Box::new(move |value| text(value).ends_with(&lower)),
        Asks::AnyOf => Box::new(move |value| {
            let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            items
                .into_iter()
                .any(|item| any_of.iter().flat_map(|wanted| wanted.split(',')).any(|wanted| wanted == item))
        }),
        Asks::Within | Asks::NotWithin => {
            let first_day = now.date_naive().checked_sub_days(Days::new(wanted.parse().ok()?))?;
            let from = first_day.and_time(NaiveTime::MIN).and_utc();
            Box::new(move |value| {
                let is_within = value.as_str().and_then(time::parse).is_some_and(|time| time >= from);
                is_within == (asks == Asks::Within)
            })
        }
    })
}
