//! Reads one page while it arrives: another thread cuts the bytes into rows.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::core::clock;
use crate::core::ndjson::{Cutter, Fingerprint, PageError, PageRest, Row};
use crate::core::quote::EXCERPT;
use crate::incydr::client::Api;
use crate::incydr::error::{ApiError, broke_off};
use crate::incydr::exchange::OpenAnswer;
use crate::incydr::facts::List;
use crate::incydr::http::is_gzipped;
use crate::incydr::request::{Caller, Request};

/// Capacity of the channel to that thread, in pieces of up to 400 KB.
const PIECES: usize = 1;
/// Bytes that are cut at a time: few enough to stay in the CPU's cache.
const BITE: usize = 64 * 1024;
/// Bytes that are unpacked at a time. They may grow a thousandfold.
const PACKED_BITE: usize = 4 * 1024;

/// Takes a page's rows while they arrive.
pub trait Rows: Send + 'static {
    fn take(&mut self, row: Row<'_>);
    /// The page broke off and is requested again: forget its rows.
    fn page_broken(&mut self);
    /// The page is complete.
    fn page_complete(&mut self);
}

/// Rows that a page is added to. While it arrives, another thread has them. If the run's time ends meanwhile, they are
/// lost.
pub struct Lent<R>(Option<R>);

impl<R> Lent<R> {
    pub fn new(rows: R) -> Self {
        Self(Some(rows))
    }

    /// Returns the rows. An error if they were lost.
    pub fn back(self) -> Result<R, ApiError> {
        self.0.ok_or(ApiError::OutOfTime)
    }

    pub fn get(&mut self) -> Result<&mut R, ApiError> {
        self.0.as_mut().ok_or(ApiError::OutOfTime)
    }
}

/// A page that has arrived, without its rows.
pub struct Page {
    pub rows: u64,
    /// The first row's fingerprint, to recognise a repeated page.
    pub first: Option<Fingerprint>,
    /// The page's other members, without the list.
    pub envelope: Map<String, Value>,
    pub has_list: bool,
    /// The beginning of its body.
    pub begins: Vec<u8>,
}

impl Api {
    /// Requests a page until it arrives as a whole and passes `check`.
    pub async fn page<R: Rows>(
        &self,
        request: &Request,
        caller: &Caller<'_>,
        list: &'static List,
        rows: &mut Lent<R>,
        check: impl Fn(&Page) -> Result<(), ApiError>,
    ) -> Result<Page, ApiError> {
        let what = request.what();
        self.exchange(request, caller, async |response: OpenAnswer| {
            let taken = rows.0.take().ok_or(ApiError::OutOfTime)?;
            let (mut taken, arrived, begins) = arrive(response, list, taken).await;
            let checked = arrived.and_then(|page| check(&page).map(|()| page));
            let checked = checked.map_err(|error| error.with_beginning(&begins));
            if checked.is_ok() {
                taken.page_complete();
            } else {
                taken.page_broken();
            }
            rows.0 = Some(taken);
            checked.map_err(|error| error.about(&what))
        })
        .await
    }
}

/// Returns the rows, the page, and the beginning of its body.
async fn arrive<R: Rows>(
    mut response: OpenAnswer,
    list: &'static List,
    rows: R,
) -> (R, Result<Page, ApiError>, Vec<u8>) {
    let is_gzipped = is_gzipped(&response.headers);
    let ((rows, page, begins), ended) = if clock::is_simulated() {
        // A simulation has only one thread.
        let (pieces, ended) = all_pieces(&mut response).await;
        (cut(pieces.into_iter(), is_gzipped, list, rows), ended)
    } else {
        cut_as_it_arrives(&mut response, is_gzipped, list, rows).await
    };
    let page = page.map_err(|error| ApiError::Unexpected { what: String::new(), why: error.to_string() });
    (rows, ended.and(page), begins)
}

async fn all_pieces(response: &mut OpenAnswer) -> (Vec<Bytes>, Result<(), ApiError>) {
    let mut pieces = Vec::new();
    loop {
        match response.piece().await {
            Ok(Some(piece)) => pieces.push(piece),
            Ok(None) => return (pieces, Ok(())),
            Err(source) => return (pieces, Err(broke_off(source))),
        }
    }
}

/// Passes the pieces of a body to a blocking thread, which cuts them into rows.
async fn cut_as_it_arrives<R: Rows>(
    response: &mut OpenAnswer,
    is_gzipped: bool,
    list: &'static List,
    rows: R,
) -> (CutPage<R>, Result<(), ApiError>) {
    let (pieces, mut to_cut) = mpsc::channel(PIECES);
    let arriving = std::iter::from_fn(move || to_cut.blocking_recv());
    let cutting = tokio::task::spawn_blocking(move || cut(arriving, is_gzipped, list, rows));
    let ended = loop {
        match response.piece().await {
            Ok(Some(piece)) => {
                if pieces.send(piece).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(source) => break Err(broke_off(source)),
        }
    };
    drop(pieces);
    (cutting.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())), ended)
}

/// The rows, the page, and the beginning of its body.
type CutPage<R> = (R, Result<Page, PageError>, Vec<u8>);

/// Unpacks the pieces if they are gzipped, cuts them into rows, and hands each row to `rows`.
fn cut<R: Rows>(pieces: impl Iterator<Item = Bytes>, is_gzipped: bool, list: &'static List, mut rows: R) -> CutPage<R> {
    let mut cutter = Cutter::new(list.place, list.field);
    let mut unpacker = is_gzipped.then(|| MultiGzDecoder::new(Vec::new()));
    let (mut count, mut first, mut begins) = (0, None, Vec::new());

    let mut take = |row: Row<'_>| {
        first.get_or_insert_with(|| match &row {
            Row::Record { bytes, .. } | Row::Unreadable { bytes, .. } => Fingerprint::quick(bytes),
        });
        count += 1;
        rows.take(row);
    };
    let mut feed = |bytes: &[u8], take: &mut dyn FnMut(Row<'_>)| {
        begins.extend_from_slice(&bytes[..bytes.len().min(EXCERPT - begins.len())]);
        bytes.chunks(BITE).try_for_each(|bite| cutter.feed(bite, &mut *take))
    };

    let use_up = || {
        for piece in pieces {
            let Some(unpacker) = &mut unpacker else {
                feed(&piece, &mut take)?;
                continue;
            };
            for bite in piece.chunks(PACKED_BITE) {
                unpacker.write_all(bite).map_err(|error| PageError::not_gzip(&error))?;
                feed(unpacker.get_ref(), &mut take)?;
                unpacker.get_mut().clear();
            }
        }
        if let Some(unpacker) = unpacker.take() {
            let rest = unpacker.finish().map_err(|error| PageError::not_gzip(&error))?;
            feed(&rest, &mut take)?;
        }
        Ok(())
    };
    let page = use_up().and_then(|()| cutter.finish(&mut take));
    let page = page.map(|PageRest { envelope, has_list }| Page {
        rows: count,
        first,
        envelope,
        has_list,
        begins: begins.clone(),
    });
    (rows, page, begins)
}
