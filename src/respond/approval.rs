//! Decides whether a request may be carried out. If its action needs approval, another person must have approved this
//! very request.

use crate::core::time::Millis;
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::request::{ActionRequest, Approval};
use crate::respond::settings::{APPROVAL_LASTS, RespondSettings};
use crate::respond::store::{ActionStore, Claim};

pub enum Approved {
    NotNeeded,
    Pending,
    By(String),
    /// The person who refused, and the reason.
    Rejected(String, RespondError),
}

/// Decides about a request, of which `claim` is the first delivery. `may_approve` means that the function was invoked
/// through the alias for approvals. After an error the same request may be sent again.
pub async fn approval(
    request: &ActionRequest,
    claim: &Claim,
    settings: &RespondSettings,
    store: &ActionStore<'_>,
    may_approve: bool,
    until: Millis,
) -> Result<Approved, RespondError> {
    if !settings.needs_approval.contains(request.permission()) {
        return Ok(Approved::NotNeeded);
    }
    let Some(approval) = &request.approval else {
        store.wait_for_approval(request, until).await?;
        return Ok(Approved::Pending);
    };

    let rejected = |why: String| RespondError::new(ErrorCause::ApprovalRejected, why);
    if !may_approve {
        let alias = &settings.approvals_alias;
        return Err(rejected(format!(
            "an approval is valid only if the function is invoked through its alias {alias:?}"
        )));
    }

    let since = store.waits_since(request, until).await?;
    let since =
        since.ok_or_else(|| rejected("this request never asked for approval: send it without one first".to_owned()))?;
    let by = approval.approved_by.clone();
    Ok(match rejection(request, &claim.requested_by, approval, since, Millis::now()) {
        None => Approved::By(by),
        Some(why) => Approved::Rejected(by, rejected(why)),
    })
}

/// Returns why an approval is not valid. The first delivery of the request, which is in the trail, was made by
/// `first_requested_by`; this delivery may name somebody else.
fn rejection(
    request: &ActionRequest,
    first_requested_by: &str,
    approval: &Approval,
    since: Millis,
    now: Millis,
) -> Option<String> {
    let is_approver = |name: &str| approval.approved_by.trim().eq_ignore_ascii_case(name.trim());
    let is_same = is_approver(first_requested_by) || is_approver(&request.requested_by);
    let approver = &approval.approved_by;
    if approval.request_hash != request.hash {
        return Some("the approval is bound to another request_hash than this request's".into());
    }
    if !approval.is_given {
        return Some(format!("{approver} refused it"));
    }
    if is_same {
        return Some(format!("{approver} made the request; another person must approve it"));
    }
    let is_late = now > since + APPROVAL_LASTS;
    is_late.then(|| format!("it asked for approval on {since}, more than 24 hours ago"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::time::MILLISECOND;

    #[test]
    fn an_approval_is_bound_to_the_request_to_another_person_and_to_a_day() {
        let event = json!({"action": "rule.disable", "request_id": "r", "requested_by": "alice@example.com",
            "reason": "noise", "input": {"id": "rule-1"}});
        let request = ActionRequest::parse(event.as_object().expect("an object")).expect("good");
        let given =
            |by: &str, is_given, hash: &str| Approval { approved_by: by.into(), is_given, request_hash: hash.into() };
        let (since, in_time) = (Millis(0), Millis(0) + APPROVAL_LASTS);
        let first = "Carol";
        assert_eq!(rejection(&request, first, &given("bob", true, &request.hash), since, in_time), None);
        for (approval, now, why) in [
            (given("bob", false, &request.hash), in_time, "refused"),
            (given(" Alice@Example.com", true, &request.hash), in_time, "another person must approve"),
            (given("carol ", true, &request.hash), in_time, "another person must approve"),
            (given("bob", true, "another"), in_time, "another request_hash"),
            (given("bob", true, &request.hash), in_time + MILLISECOND, "24 hours"),
        ] {
            let rejected = rejection(&request, first, &approval, since, now).expect(why);
            assert!(rejected.contains(why), "{rejected}");
        }
    }
}
