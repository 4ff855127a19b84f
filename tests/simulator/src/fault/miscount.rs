//! Totals that stay wrong, whatever other faults strike.

use chrono::{DateTime, Utc};

use super::Endpoint;
use crate::{
    api::{EdgePolicy, span_asked},
    http::Request,
};

#[derive(Debug)]
pub(super) struct Miscount {
    /// The id by which it is healed.
    pub(super) id: u64,
    pub(super) endpoint: Endpoint,
    pub(super) how: How,
}

#[derive(Debug)]
pub(super) enum How {
    /// This many rows are counted in any request that touches this span, and never returned.
    Unseen { by: i64, from: DateTime<Utc>, to: DateTime<Utc> },
    /// Limit for every total.
    Capped(i64),
}

/// Returns how far a query's total is off, and its limit.
pub(super) fn totals(
    miscounts: &[Miscount],
    endpoint: Endpoint,
    request: &Request,
    edges: EdgePolicy,
) -> (i64, Option<i64>) {
    let (mut off, mut most) = (0, None::<i64>);
    let mut of_endpoint = miscounts.iter().filter(|miscount| miscount.endpoint == endpoint).peekable();
    let asked = of_endpoint.peek().and_then(|_| span_asked(&request.json()));
    let touches = |from, to| asked.is_some_and(|[a, b]| edges.not_before(to, a) && edges.not_after(from, b));
    for miscount in of_endpoint {
        match miscount.how {
            How::Unseen { by, from, to } if touches(from, to) => off += by,
            How::Unseen { .. } => {}
            How::Capped(cap) => most = Some(most.map_or(cap, |most| most.min(cap))),
        }
    }
    (off, most)
}
