//! The control port: reads the counters and changes the behaviour.

use std::sync::Arc;

use serde_json::json;
use simulator::http::{Reply, Request};

use crate::{api::Api, figures::Counter, s3::S3, tenant::Change};

#[derive(Debug, Clone)]
pub struct Control {
    pub api: Arc<Api>,
    pub s3: Arc<S3>,
    pub figures: Arc<Counter>,
}

impl Control {
    /// `GET /figures`; `POST /reset` empties bucket, figures and the limit's minute; `POST /behaviour` takes a
    /// [`Change`].
    pub fn answer(&self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/figures") => Reply::json(200, json!(*self.figures.lock()).to_string()),
            ("POST", "/reset") => {
                self.s3.reset();
                self.api.forget();
                self.figures.reset();
                Reply::json(200, "{}")
            }
            ("POST", "/behaviour") => match serde_json::from_slice::<Change>(&request.body) {
                Ok(change) => {
                    self.api.behave(|behaviour| behaviour.changed(&change));
                    Reply::json(200, "{}")
                }
                Err(error) => Reply::json(400, json!({"error": error.to_string()}).to_string()),
            },
            _ => Reply::json(404, "{}"),
        }
    }
}
