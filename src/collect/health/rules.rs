//! The rules of the findings, and the agents in which they are looked for.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::collect::health::records::{Agent, User};
use crate::core::agent_version::AgentVersion;
use crate::core::time::Millis;

/// The limits of the findings.
pub struct Rules {
    pub now: Millis,
    /// An agent that has not connected for this long is stale.
    pub stale: TimeDelta,
    /// An agent or an observer that has sent nothing for this long is silent.
    pub silence: TimeDelta,
    pub minimum_version: Option<AgentVersion>,
}

pub type Agents = BTreeMap<String, Agent>;
pub type Users = BTreeMap<String, User>;

pub fn active(agents: &Agents) -> impl Iterator<Item = (&str, &Agent)> {
    agents.iter().filter(|(_, agent)| !agent.is_inactive).map(|(id, agent)| (id.as_str(), agent))
}

/// The age of a time; none if it can't be read.
pub fn age(text: Option<&str>, now: Millis) -> Option<TimeDelta> {
    Some(now - Millis::parse(text?)?)
}

pub fn is_fresh(agent: &Agent, rules: &Rules) -> bool {
    age(agent.last_connected.as_deref(), rules.now).is_some_and(|age| age < rules.stale)
}
