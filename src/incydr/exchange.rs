//! One exchange with the API: takes a request, returns the status, the headers and the body in pieces. Uses HTTP, or a
//! function in a simulation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Request, RequestBuilder, StatusCode};
use tokio::time::Instant;

/// A body that comes more slowly than this, in bytes a second, is as good as none.
const SLOWEST: u64 = 1_024;

/// The function that answers requests in a simulation.
pub type SimulatedApi = Arc<dyn Fn(Request) -> BoxFuture<'static, Result<OpenAnswer, BrokenOff>> + Send + Sync>;

#[derive(Clone)]
pub enum Exchange {
    Http,
    Simulated(SimulatedApi),
}

/// An answer whose body is still arriving.
pub struct OpenAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Body,
    pace: Option<BodyPace>,
}

/// A caller's limits for a body: no pause longer than `longest`, and at least 1 KB a second on average once the body
/// took longer than that.
#[derive(Clone, Copy)]
struct BodyPace {
    longest: Duration,
    began: Instant,
    bytes: u64,
}

enum Body {
    Http(reqwest::Response),
    Simulated(BoxStream<'static, Result<Bytes, BrokenOff>>),
}

/// No answer arrived, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the connection broke")]
    Lost,
    #[error("operation timed out")]
    Silent,
    /// The body stopped, or came too slowly, for as long as the caller waits.
    #[error("no more of the answer came within {} ms", .0.as_millis())]
    Stalled(Duration),
}

impl Exchange {
    pub async fn send(&self, request: RequestBuilder) -> Result<OpenAnswer, BrokenOff> {
        match self {
            Self::Http => Ok(OpenAnswer::of(request.send().await.map_err(reqwest::Error::without_url)?)),
            Self::Simulated(answer) => answer(request.build()?).await,
        }
    }
}

impl OpenAnswer {
    fn of(mut response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        Self { status, headers, body: Body::Http(response), pace: None }
    }

    pub fn simulated(
        status: StatusCode,
        headers: HeaderMap,
        body: BoxStream<'static, Result<Bytes, BrokenOff>>,
    ) -> Self {
        Self { status, headers, body: Body::Simulated(body), pace: None }
    }

    /// Limits the time that the body may take.
    pub fn no_slower_than(&mut self, longest: Duration) {
        self.pace = Some(BodyPace { longest, began: Instant::now(), bytes: 0 });
    }

    /// Returns the next piece of the body, or none at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        let Some(BodyPace { longest, began, bytes }) = self.pace else { return self.next_piece().await };
        let stalled = BrokenOff::Stalled(longest);
        let Ok(piece) = tokio::time::timeout(longest, self.next_piece()).await else { return Err(stalled) };
        let piece = piece?;
        let bytes = bytes + piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let took = began.elapsed();
        if piece.is_some() && took > longest && bytes < SLOWEST * took.as_secs() {
            return Err(stalled);
        }
        self.pace = Some(BodyPace { longest, began, bytes });
        Ok(piece)
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        match &mut self.body {
            Body::Http(response) => Ok(response.chunk().await.map_err(reqwest::Error::without_url)?),
            Body::Simulated(pieces) => pieces.next().await.transpose(),
        }
    }
}

impl BrokenOff {
    /// Nothing arrived for too long.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Http(error) => error.is_timeout(),
            Self::Lost => false,
            Self::Silent | Self::Stalled(_) => true,
        }
    }

    /// The connection was never made.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_connect())
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "Http",
            Self::Simulated(_) => "Simulated",
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// Reads a body that has 40 pieces of this length, one every 2 s.
    async fn read(length: usize) -> Result<usize, BrokenOff> {
        let pieces = stream::unfold(0, move |sent| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            (sent < 40).then(|| (Ok(Bytes::from(vec![b' '; length])), sent + 1))
        });
        let mut answer = OpenAnswer::simulated(StatusCode::OK, HeaderMap::new(), pieces.boxed());
        answer.no_slower_than(Duration::from_secs(20));
        let mut bytes = 0;
        while let Some(piece) = answer.piece().await? {
            bytes += piece.len();
        }
        Ok(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_and_one_that_is_slow_is_read() {
        assert!(matches!(read(1).await, Err(BrokenOff::Stalled(longest)) if longest == Duration::from_secs(20)));
        assert_eq!(read(3_000).await.ok(), Some(120_000));
    }
}
