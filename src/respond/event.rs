//! Parses an event into requests. Takes a request sent directly or by Step Functions, the detail of an `EventBridge`
//! event, and messages of SNS or SQS.

use serde_json::{Map, Value};

use crate::respond::error::RespondError;
use crate::respond::request::ActionRequest;

pub enum Delivery {
    One(Box<ActionRequest>),
    /// From SNS. Its events hold a list, in practice of one message.
    Each(Vec<Result<ActionRequest, RespondError>>),
    /// From SQS, by message id: the answer lists the ids of failed messages.
    Batch(Vec<(String, Result<ActionRequest, RespondError>)>),
}

const TAKES: &str = "it takes a request ({\"action\", \"request_id\", \"requested_by\", \"reason\", \"input\"}), or one as the \
                     detail of an event of EventBridge, or as messages of SNS or SQS";

pub fn parse(event: &Value) -> Result<Delivery, RespondError> {
    let Value::Object(members) = event else {
        return Err(RespondError::invalid(format!("the event is not a JSON object; {TAKES}")));
    };
    if let Some(records) = members.get("Records") {
        return records_of(records);
    }
    if members.contains_key("detail-type") {
        let detail = members.get("detail").and_then(Value::as_object);
        let detail = detail.ok_or_else(|| RespondError::invalid(format!("the event has no \"detail\"; {TAKES}")))?;
        return Ok(Delivery::One(Box::new(ActionRequest::parse(detail)?)));
    }
    if !members.contains_key("action") {
        return Err(RespondError::invalid(format!("the event has no \"action\"; {TAKES}")));
    }
    Ok(Delivery::One(Box::new(ActionRequest::parse(members)?)))
}

fn records_of(records: &Value) -> Result<Delivery, RespondError> {
    let wrong = || RespondError::invalid(format!("\"Records\" are neither those of SQS nor of SNS; {TAKES}"));
    let records = records.as_array().filter(|records| !records.is_empty()).ok_or_else(wrong)?;
    if records.iter().all(|record| record["eventSource"] == "aws:sqs") {
        let messages = records.iter().map(|record| {
            let id = record["messageId"].as_str().ok_or_else(wrong)?.to_owned();
            Ok((id, message(&record["body"])))
        });
        return Ok(Delivery::Batch(messages.collect::<Result<_, RespondError>>()?));
    }
    if records.iter().all(|record| record["EventSource"] == "aws:sns") {
        return Ok(Delivery::Each(records.iter().map(|record| message(&record["Sns"]["Message"])).collect()));
    }
    Err(wrong())
}

/// Parses a message, whose text is a request. Unwraps an SNS notification that reached an SQS queue.
fn message(text: &Value) -> Result<ActionRequest, RespondError> {
    let members = object(text)?;
    let is_notice = members.get("Type").is_some_and(|kind| kind == "Notification");
    match members.get("Message").filter(|_| is_notice) {
        Some(inner) => ActionRequest::parse(&object(inner)?),
        None => ActionRequest::parse(&members),
    }
}

fn object(text: &Value) -> Result<Map<String, Value>, RespondError> {
    let read = text.as_str().and_then(|text| serde_json::from_str(text).ok());
    read.ok_or_else(|| RespondError::invalid(format!("a message is not a JSON object; {TAKES}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> Value {
        json!({"action": "session.add_note", "request_id": "r-1", "requested_by": "alice", "reason": "ticket 1",
               "input": {"id": "s-1", "noteContent": "seen"}})
    }

    #[test]
    fn a_request_is_the_same_whoever_sends_it() {
        let text = request().to_string();
        let wrapped = json!({"Type": "Notification", "Message": text}).to_string();
        let sqs = |body: &str| json!({"eventSource": "aws:sqs", "messageId": "m", "body": body});

        for event in [
            request(),
            json!({"source": "our.soar", "detail-type": "Response", "detail": request()}),
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text}}]}),
            json!({"Records": [sqs(&text)]}),
            json!({"Records": [sqs(&wrapped)]}),
        ] {
            let read = match parse(&event).expect("good") {
                Delivery::One(request) => *request,
                Delivery::Each(mut all) => all.remove(0).expect("good"),
                Delivery::Batch(mut all) => all.remove(0).1.expect("good"),
            };
            assert_eq!((read.request_id.as_str(), read.name.as_str()), ("r-1", "session.add_note"));
        }
    }

    #[test]
    fn a_message_that_is_none_holds_up_no_other() {
        let sqs = |id: &str, body: &str| json!({"eventSource": "aws:sqs", "messageId": id, "body": body});
        let event = json!({"Records": [sqs("bad", "hello"), sqs("good", &request().to_string())]});
        let Ok(Delivery::Batch(batch)) = parse(&event) else { panic!("no batch") };
        let told: Vec<_> = batch.iter().map(|(id, read)| (id.as_str(), read.is_ok())).collect();
        assert_eq!(told, [("bad", false), ("good", true)]);
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_would_be_one() {
        for event in [
            json!([]),
            json!({}),
            json!({"Records": []}),
            json!({"Records": [{"s3": {}}]}),
            json!({"detail-type": "x"}),
        ] {
            let error = parse(&event).err().expect("refused");
            assert!(error.message.contains(TAKES), "{error}");
        }
    }
}
