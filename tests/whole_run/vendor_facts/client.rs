//! A client of the simulator alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use simulator::Api;
use simulator::http::Request;

use crate::rig::Rig;

pub struct Client {
    api: Api,
    token: String,
}

impl Client {
    pub async fn of(rig: &Rig) -> Self {
        let behaviour = rig.sim.api.behaviour();
        let credentials = BASE64.encode(format!("{}:{}", behaviour.client_id, behaviour.client_secret));
        let mut client = Self { api: rig.sim.api.clone(), token: format!("Basic {credentials}") };
        let (_, answer) = client.ask("POST", "/v1/oauth", &json!({})).await;
        client.token = format!("Bearer {}", answer["access_token"].as_str().unwrap());
        client
    }

    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: [(AUTHORIZATION, self.token.parse().unwrap())].into_iter().collect(),
            body: body.to_string().into(),
        };
        let reply = self.api.exchange(request).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }
}
