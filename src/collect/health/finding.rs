//! One finding, in the form in which it is answered and stored.

use serde::Serialize;

use crate::collect::health::records::Agent;

/// The checks. Each yields findings of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    StaleAgent,
    SupersededAgent,
    UnhealthyAgent,
    SilentAgent,
    OutdatedAgent,
    Deployment,
    UserWithoutAgent,
    DeactivatedUserWithAgent,
    LeftButActive,
    MustNotBeDeactivated,
    SilentObserver,
}

/// A finding, with the ids to act on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub finding: FindingKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_hostname: Option<String>,
    /// The time in the API's own form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observer: Option<String>,
    /// The connection, if the observer has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matter_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_number: Option<u64>,
    /// The number of file events that an observer sent before it fell silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// The beginning of what was found: for example the last connection, or the date on which a person left. If nothing
    /// tells it, the time of the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    pub why: String,
    /// The action to take. It never deactivates a user or agent that legal hold or a case protects.
    #[serde(rename = "do")]
    pub advice: String,
}

/// A check that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub check: FindingKind,
    pub why: String,
}

impl FindingKind {
    pub const ALL: [Self; 11] = [
        Self::StaleAgent,
        Self::SupersededAgent,
        Self::UnhealthyAgent,
        Self::SilentAgent,
        Self::OutdatedAgent,
        Self::Deployment,
        Self::UserWithoutAgent,
        Self::DeactivatedUserWithAgent,
        Self::LeftButActive,
        Self::MustNotBeDeactivated,
        Self::SilentObserver,
    ];
}

impl Finding {
    pub fn new(finding: FindingKind, why: String, advice: String) -> Self {
        Self {
            finding,
            agent_id: None,
            user_id: None,
            username: None,
            name: None,
            os_hostname: None,
            last_connected: None,
            days: None,
            issue: None,
            version: None,
            observer: None,
            detector: None,
            matter_id: None,
            case_number: None,
            records: None,
            since: None,
            why,
            advice,
        }
    }

    pub fn of_agent(finding: FindingKind, id: &str, agent: &Agent, why: String, advice: String) -> Self {
        Self {
            agent_id: Some(id.to_owned()),
            user_id: agent.user_id.clone(),
            name: agent.name.clone(),
            os_hostname: agent.os_hostname.clone(),
            last_connected: agent.last_connected.clone(),
            since: agent.last_connected.clone(),
            ..Self::new(finding, why, advice)
        }
    }
}
