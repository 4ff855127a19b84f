//! A request: an action, who asked for it and why, and an id that makes it happen once.

use serde_json::{Map, Value, json};

use crate::core::digest::sha256;
use crate::respond::action::Action;
use crate::respond::error::RespondError;

const TAKES: [&str; 7] = ["action", "request_id", "requested_by", "reason", "dry_run", "input", "approval"];

#[derive(Clone, Debug)]
pub struct ActionRequest {
    pub name: String,
    pub action: Action,
    pub input: Map<String, Value>,
    pub request_id: String,
    pub requested_by: String,
    pub reason: String,
    pub dry_run: bool,
    pub approval: Option<Approval>,
    /// The hash of action and input, independent of the order of members. The same id with another hash is refused.
    pub hash: String,
}

/// Another person's decision, and the hash of the request that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    pub approved_by: String,
    pub is_given: bool,
    pub request_hash: String,
}

impl ActionRequest {
    /// Refuses anything unknown before anything is read from the API. An action that only reads needs no id and no
    /// reason.
    pub fn parse(event: &Map<String, Value>) -> Result<Self, RespondError> {
        Self::read(event).map_err(RespondError::invalid)
    }

    fn read(event: &Map<String, Value>) -> Result<Self, String> {
        if let Some(unknown) = event.keys().find(|name| !TAKES.contains(&name.as_str())) {
            return Err(format!("{unknown:?} is not a member of a request, which takes {}", TAKES.join(", ")));
        }

        let name = event.get("action").and_then(Value::as_str).ok_or("\"action\" must be the name of an action")?;
        let input = match event.get("input") {
            None => Map::new(),
            Some(Value::Object(input)) => input.clone(),
            Some(other) => return Err(format!("\"input\" is {other}, but must be an object")),
        };

        let text = |name: &str, most: usize| match event.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if is_one_line(text, most) => Ok(Some(text.trim().to_owned())),
            Some(other) => {
                Err(format!("{name:?} is {other}, but must be one line of text, of {most} characters at most"))
            }
        };
        let request_id = text("request_id", 128)?;
        let action = Action::parse(name, &input, request_id.as_deref().unwrap_or_default())?;

        let needed = |name: &str, held: Option<String>| match held {
            None if !action.is_read() => {
                Err(format!("{:?} needs {name:?}", event["action"].as_str().unwrap_or_default()))
            }
            held => Ok(held.unwrap_or_default()),
        };
        let dry_run = match event.get("dry_run") {
            None => false,
            Some(Value::Bool(dry_run)) => *dry_run,
            Some(other) => return Err(format!("\"dry_run\" is {other}, but must be true or false")),
        };

        Ok(Self {
            request_id: needed("request_id", request_id)?,
            requested_by: needed("requested_by", text("requested_by", 256)?)?,
            reason: needed("reason", text("reason", 2_000)?)?,
            approval: event.get("approval").map(Approval::read).transpose()?,
            hash: hash(name, &input),
            name: name.to_owned(),
            action,
            input,
            dry_run,
        })
    }

    pub fn permission(&self) -> &str {
        self.action.permission(&self.name)
    }
}

impl Approval {
    fn read(value: &Value) -> Result<Self, String> {
        const TAKES: [&str; 3] = ["approved_by", "decision", "request_hash"];
        let wrong = || {
            "\"approval\" must be an object with \"approved_by\", \"decision\" (\"approve\" or \"refuse\") and \
             \"request_hash\", all of them text"
                .to_owned()
        };

        let members = value.as_object().filter(|members| members.keys().all(|name| TAKES.contains(&name.as_str())));
        let text = |name: &str| members?.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty());
        let is_given = match text("decision") {
            Some("approve") => true,
            Some("refuse") => false,
            _ => return Err(wrong()),
        };

        Ok(Self {
            approved_by: text("approved_by").ok_or_else(wrong)?.to_owned(),
            is_given,
            request_hash: text("request_hash").ok_or_else(wrong)?.to_owned(),
        })
    }
}

fn is_one_line(text: &str, most: usize) -> bool {
    let trimmed = text.trim();
    !trimmed.is_empty() && trimmed.chars().count() <= most && !trimmed.chars().any(char::is_control)
}

fn hash(name: &str, input: &Map<String, Value>) -> String {
    sha256(canonical(&json!({"action": name, "input": input})).to_string())
}

/// Sorts the members of all objects by name.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            Value::Object(sorted.into_iter().map(|(name, value)| (name.clone(), canonical(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::respond::error::ErrorCause;

    fn parse(event: &Value) -> Result<ActionRequest, RespondError> {
        ActionRequest::parse(event.as_object().expect("an object"))
    }

    fn note() -> Value {
        json!({"action": "session.add_note", "request_id": "soar-4711", "requested_by": "alice", "reason": "ticket 1",
               "input": {"id": "s-1", "noteContent": "seen"}})
    }

    #[test]
    fn the_hash_is_that_of_action_and_input_whatever_their_order_and_who_asks() {
        let other: Value = serde_json::from_str(
            r#"{"input":{"noteContent":"seen","id":"s-1"},"reason":"another","requested_by":"bob",
                "request_id":"soar-4712","action":"session.add_note"}"#,
        )
        .expect("JSON");
        assert_eq!(parse(&note()).expect("good").hash, parse(&other).expect("good").hash);
        let mut changed = note();
        changed["input"]["noteContent"] = "Seen".into();
        assert_ne!(parse(&note()).expect("good").hash, parse(&changed).expect("good").hash);
    }

    #[test]
    fn who_asks_and_why_is_needed_but_for_what_only_reads() {
        for name in ["request_id", "requested_by", "reason"] {
            let mut event = note();
            event.as_object_mut().expect("an object").remove(name);
            let error = parse(&event).expect_err(name);
            assert_eq!((error.kind, error.message.contains(name)), (ErrorCause::InvalidEvent, true), "{error}");
            event[name] = "two\nlines".into();
            assert!(parse(&event).expect_err(name).message.contains("one line"));
        }
        assert!(parse(&json!({"action": "case.list"})).is_ok());
    }

    #[test]
    fn what_is_unknown_or_of_another_type_is_refused() {
        for (name, value) in [
            ("user", json!("alice")),
            ("dry_run", json!("yes")),
            ("input", json!([])),
            ("approval", json!({"approved_by": "bob", "decision": "yes", "request_hash": "x"})),
            ("approval", json!({"approved_by": "bob", "decision": "approve", "hash": "x"})),
            ("approval", json!({"decision": "approve", "request_hash": "x"})),
        ] {
            let mut event = note();
            event[name] = value;
            let error = parse(&event).expect_err(name);
            assert!(error.message.contains(name), "{error}");
        }
    }
}
