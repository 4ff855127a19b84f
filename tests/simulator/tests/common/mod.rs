//! A minimal client of the simulated API.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use simulator::Simulator;

pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// An HTTP client without certificate authorities: everything is on loopback.
pub fn http() -> reqwest::Client {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Client {
    pub async fn sign_in(simulator: &Simulator) -> Self {
        let (http, url) = (http(), simulator.api.url());
        let behaviour = simulator.api.behaviour();
        let request =
            http.post(format!("{url}/v1/oauth")).basic_auth(&behaviour.client_id, Some(&behaviour.client_secret));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        Self { http, url, token }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path).await.unwrap();
        (status, serde_json::from_str(&text).unwrap())
    }

    pub async fn get_text(&self, path: &str) -> reqwest::Result<(u16, String)> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.post_text(path, body).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    pub async fn post_text(&self, path: &str, body: Value) -> (u16, String) {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response = request.json(&body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The ids of all file events that a query matches, read page by page with the token.
    pub async fn all_file_events(&self, mut query: Value) -> Vec<String> {
        query["pgToken"] = json!("");
        let mut ids = Vec::new();
        loop {
            let (status, page) = self.post("/v2/file-events", query.clone()).await;
            assert_eq!(status, 200, "{page}");
            let events = page["fileEvents"].as_array().unwrap();
            ids.extend(events.iter().map(|event| event["event"]["id"].as_str().unwrap().to_owned()));
            match page["nextPgToken"].as_str() {
                None | Some("") => return ids,
                Some(token) => query["pgToken"] = json!(token),
            }
        }
    }
}

pub fn an_hour() -> (DateTime<Utc>, DateTime<Utc>) {
    let from = DateTime::parse_from_rfc3339("2026-11-20T10:00:00Z").unwrap().to_utc();
    (from, from + TimeDelta::hours(1))
}

pub fn everything() -> Value {
    json!({"groups": [{"filters": [{"term": "event.id", "operator": "EXISTS", "value": null}]}]})
}
