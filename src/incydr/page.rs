//! One page as it arrives: its bytes go to a thread for work, which cuts them into rows and hands these on.

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::core::ndjson::{Cut, Cutter, PageError, Row};
use crate::incydr::client::Api;
use crate::incydr::error::ApiError;
use crate::incydr::facts::List;
use crate::incydr::request::{Caller, Request};

/// So many pieces of an answer may wait for the thread that cuts them; each has up to 400 KB.
const PIECES: usize = 1;
/// So much is cut at a time, so that it stays in the cache.
const BITE: usize = 64 * 1024;

/// Takes a page's rows as they arrive.
pub trait Rows: Send + 'static {
    fn take(&mut self, row: Row<'_>);
    /// The page broke off and is asked for again: what was taken of it comes once more.
    fn page_broken(&mut self);
    /// The page is whole.
    fn page_complete(&mut self);
}

/// What is known of a page that has arrived.
pub struct Page {
    pub rows: u64,
    /// All keys but the list's.
    pub envelope: Map<String, Value>,
    pub has_list: bool,
}

impl Api {
    /// Asks for a page until it arrives whole, and passes `check`.
    pub async fn page<R: Rows>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        list: &'static List,
        rows: &mut Option<R>,
        check: impl Fn(&Page) -> Result<(), ApiError>,
    ) -> Result<Page, ApiError> {
        let what = request.what();
        self.exchange(request, caller, async |response: reqwest::Response| {
            let Some(taken) = rows.take() else { return Err(ApiError::OutOfTime) };
            let (mut taken, arrived) = arrive(response, list, taken).await;
            let checked = arrived.and_then(|page| check(&page).map(|()| page));
            if checked.is_ok() {
                taken.page_complete();
            } else {
                taken.page_broken();
            }
            *rows = Some(taken);
            checked.map_err(|error| error.about(&what))
        })
        .await
    }
}

async fn arrive<R: Rows>(mut response: reqwest::Response, list: &'static List, rows: R) -> (R, Result<Page, ApiError>) {
    let (pieces, to_cut) = mpsc::channel(PIECES);
    let cutting = tokio::task::spawn_blocking(move || cut(to_cut, list, rows));
    let ended = loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if pieces.send(piece).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(source) => {
                break Err(ApiError::Transport { what: String::new(), source: source.without_url() });
            }
        }
    };
    drop(pieces);
    let (rows, page) = cutting.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let page = page.map_err(|error| ApiError::Unexpected { what: String::new(), why: error.to_string() });
    (rows, ended.and(page))
}

fn cut<R: Rows>(mut pieces: mpsc::Receiver<Bytes>, list: &'static List, mut rows: R) -> (R, Result<Page, PageError>) {
    let mut cutter = Cutter::new(list.place, list.field);
    let mut count = 0;
    let mut take = |row: Row<'_>| {
        count += 1;
        rows.take(row);
    };
    while let Some(piece) = pieces.blocking_recv() {
        for bite in piece.chunks(BITE) {
            if let Err(error) = cutter.feed(bite, &mut take) {
                return (rows, Err(error));
            }
        }
    }
    match cutter.finish(&mut take) {
        Ok(Cut { envelope, has_list }) => (rows, Ok(Page { rows: count, envelope, has_list })),
        Err(error) => (rows, Err(error)),
    }
}
