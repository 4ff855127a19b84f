//! The lists that differ only in names and limits (paths and parameters: SDK, each endpoint's `client.py`).

mod filter;
mod table;

use chrono::{DateTime, Utc};
use serde_json::json;

pub(super) use table::{LISTS, List, keys, page_numbers};

use super::{
    page::{self, Twist},
    route, sessions,
};
use crate::{
    fault::Endpoint,
    http::{Reply, Request},
    world::{Dataset, Record, WorldHandle},
};

/// The paging of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    page: &'static str,
    /// The number of the first page. Lower numbers mean the same page.
    first: usize,
    size: &'static str,
    default: usize,
    /// A larger page size is cut to this.
    most: Most,
    /// The problem of a page number that is too small, and of a page size that is too small or too large, if the vendor
    /// enumerates them.
    problems: Option<[&'static str; 3]>,
}

/// The largest page.
#[derive(Debug, Clone, Copy)]
pub(super) enum Most {
    /// No limit is published: a larger page is cut to this, an empty one has a row, and what lies before the first page
    /// counts as that.
    Cut(usize),
    /// It is published (`OpenAPI`): what lies beyond it is refused, and so is what lies before the first page.
    Published(usize),
}

/// The members of an answer besides its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    Nothing,
    Total,
    /// `totalCount`, `pageSize` and `page`.
    Page,
}

/// The parameters that sort a list, and the member for each key. Without a key the first is meant. An empty member is
/// the order in which the records were added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sort {
    key: &'static str,
    direction: &'static str,
    members: &'static [(&'static str, &'static str)],
    /// The member that sorts rows with equal ones.
    then: &'static str,
}

/// Answers a `GET` of one of [`LISTS`]. None for another endpoint.
pub(super) fn answer(
    world: &WorldHandle,
    endpoint: Endpoint,
    request: &Request,
    now: DateTime<Utc>,
    twist: Twist,
) -> Option<Reply> {
    let list = LISTS.iter().find(|list| list.endpoint == endpoint)?;
    Some(list.answer(world, request, now, twist).unwrap_or_else(|refused| refused))
}

impl List {
    fn answer(&self, world: &WorldHandle, request: &Request, now: DateTime<Utc>, twist: Twist) -> Result<Reply, Reply> {
        let mut rows = self.rows(world, request)?;
        filter::apply(self.filters, &mut rows, request, now)?;
        if let Some(sort) = self.sort {
            sort.apply(&mut rows, request)?;
        }
        twist.arrange(&mut rows);
        // What befalls pages doesn't befall a short list that is asked for as a whole.
        let is_whole = self.endpoint == Endpoint::Policies && request.query.is_empty() && rows.len() <= 100;
        let Some(pages) = self.pages.filter(|_| !is_whole) else {
            return Ok(self.envelope(&rows, twist.total(rows.len()), 1, rows.len()));
        };
        let (number, size) = pages.asked(request)?;
        let size = twist.size(size);
        let shown = twist.page(&rows, number - pages.first, size);
        Ok(self.envelope(shown, twist.total(rows.len()), number, size))
    }

    /// Returns all records. For a path with an id, those of its record, or 404 if that doesn't exist.
    fn rows(&self, world: &WorldHandle, request: &Request) -> Result<Vec<Record>, Reply> {
        let id = route::placeholders(self.path, &request.path).unwrap_or_default().concat();
        let owners = self.owner.map(|(owners, _)| owners).or(self.dataset.parent());
        if owners.is_some_and(|owners| !world.shows(owners, &id)) {
            return Err(page::not_found(request));
        }
        if self.dataset.parent().is_some() {
            return Ok(world.visible_children(self.dataset, &id));
        }
        let mut rows = world.visible(self.dataset);
        if let Some(actor) = request.parameter("actor_id").filter(|_| self.dataset == Dataset::Watchlists) {
            rows.retain(|watchlist| sessions::members(world, &watchlist.id).contains(&actor));
        }
        if let Some((_, member)) = self.owner {
            rows.retain(|record| record.fields()[member] == *id);
        }
        Ok(rows)
    }

    fn envelope(&self, rows: &[Record], total: i64, page: usize, size: usize) -> Reply {
        let texts: Vec<String> = rows.iter().map(self.shows).collect();
        let array = format!("[{}]", texts.join(","));
        let Some(key) = self.key else {
            return Reply::json(200, array);
        };
        let told = match self.tells {
            Tells::Nothing => String::new(),
            Tells::Total => format!(r#","totalCount":{total}"#),
            Tells::Page => format!(r#","totalCount":{total},"pageSize":{size},"page":{page}"#),
        };
        Reply::json(200, format!(r#"{{"{key}":{array}{told}}}"#))
    }
}

impl Pages {
    /// The page's number and size.
    fn asked(self, request: &Request) -> Result<(usize, usize), Reply> {
        let number = page::number(request, self.page, self.first)?;
        let size = page::number(request, self.size, self.default)?;
        match self.most {
            Most::Cut(most) => Ok((number.max(self.first), size.clamp(1, most))),
            Most::Published(most) if number >= self.first && (1..=most).contains(&size) => Ok((number, size)),
            Most::Published(most) => {
                if let Some([early, small, large]) = self.problems {
                    let problem = if number < self.first {
                        early
                    } else if size > most {
                        large
                    } else {
                        small
                    };
                    return Err(Reply::json(400, json!({"problem": problem}).to_string()));
                }
                let why = format!("{} must be at least {}, and {} from 1 to {most}", self.page, self.first, self.size);
                Err(page::problem(400, &why, request))
            }
        }
    }
}

impl Sort {
    /// Unknown keys and directions are refused, for they are enumerated (`OpenAPI`).
    fn apply(self, rows: &mut [Record], request: &Request) -> Result<(), Reply> {
        let keys: Vec<&str> = self.members.iter().map(|(key, _)| *key).filter(|key| !key.is_empty()).collect();
        page::one_of(request, self.key, &keys)?;
        page::one_of(request, self.direction, &["ASC", "DESC"])?;
        let asked = request.parameter(self.key).unwrap_or_default();
        let named = self.members.iter().find(|(key, _)| key.eq_ignore_ascii_case(&asked));
        let Some((_, member)) = named.or(self.members.first()).filter(|(_, member)| !member.is_empty()) else {
            return Ok(());
        };
        let by = |member: &str, a: &Record, b: &Record| page::compare(&a.fields()[member], &b.fields()[member]);
        rows.sort_by(|a, b| by(member, a, b).then_with(|| by(self.then, a, b)));
        if request.parameter(self.direction).is_some_and(|direction| direction.eq_ignore_ascii_case("desc")) {
            rows.reverse();
        }
        Ok(())
    }
}
