//! No secret is told: neither in an answer, nor in the log, nor in what is stored. Tokens that the API repeated are noted,
//! and searched for by each eight letters in a row.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use simulator::Simulator;
use tracing::Level;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;

use crate::happenings::locked;
use crate::objects::lines_below;
use crate::oracle::{self, Found, HEALTH, wrong};
use crate::tenant::Tenant;

const LETTERS: usize = 8;

thread_local! {
    /// Each eight letters of what was repeated. A schedule has a thread of its own.
    static REPEATED: RefCell<BTreeSet<Vec<u8>>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes a token, or other credentials, that an answer repeats.
pub fn note(secret: &str) {
    REPEATED.with_borrow_mut(|repeated| repeated.extend(secret.as_bytes().windows(LETTERS).map(<[u8]>::to_vec)));
}

/// Checks that a text has nothing of it.
pub fn is_kept_in(what: &str, text: &str) -> Found {
    let told = REPEATED.with_borrow(|repeated| {
        if repeated.is_empty() {
            return None;
        }
        text.as_bytes().windows(LETTERS).position(|letters| repeated.contains(letters))
    });
    match told {
        None => Ok(()),
        Some(at) => {
            let around = text.get(at.saturating_sub(60)..).unwrap_or(text).chars().take(140).collect::<String>();
            Err(wrong("told a secret", format!("{what}: {around}")))
        }
    }
}

/// Checks the state and the collector's own records.
pub async fn is_kept(sim: &Simulator, tenant: &Tenant) -> Found {
    is_kept_in("the checkpoint", &oracle::checkpoint(sim).await.to_string())?;
    lines_below(sim, tenant, HEALTH).await.iter().try_for_each(|line| is_kept_in("a health record", line))
}

/// The AWS SDK draws a random number for each of its spans if any thread takes spans, or if none has ever logged. A seed must
/// be the same whatever is logged beside it, so nobody takes them.
pub fn draw_nothing_for_spans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(NoSubscriber::new()).expect("no other one"));
}

/// What the collector logs on this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes it until the guard is dropped, without the AWS SDK's spans.
    pub fn begin(&self) -> DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_ansi(false).without_time();
        let without_spans_of_sdk = filter_fn(|told| !told.is_span() || !told.target().starts_with("aws_"));
        let subscriber = subscriber.with_writer(move || log.clone()).finish().with(without_spans_of_sdk);
        tracing::subscriber::set_default(subscriber)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&locked(&self.0)).into_owned()
    }

    pub fn keeps_secrets(&self) -> Found {
        is_kept_in("the log", &self.text())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
