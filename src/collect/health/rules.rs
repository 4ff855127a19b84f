//! By what something is found, and which agents it is looked for in.

use std::collections::BTreeMap;

use crate::collect::health::records::{Agent, User};
use crate::core::time::Millis;
use crate::core::version::Version;

/// By what something is found.
pub struct Rules {
    pub now: Millis,
    /// An agent that has not connected for so long is stale.
    pub stale: i64,
    /// An agent or an observer that sent nothing for so long is silent.
    pub silence: i64,
    pub minimum_version: Option<Version>,
}

pub type Agents = BTreeMap<String, Agent>;
pub type Users = BTreeMap<String, User>;

pub fn active(agents: &Agents) -> impl Iterator<Item = (&str, &Agent)> {
    agents.iter().filter(|(_, agent)| !agent.is_inactive).map(|(id, agent)| (id.as_str(), agent))
}

/// How long ago something was, in milliseconds; nothing where its time can't be read.
pub fn age(text: Option<&str>, now: Millis) -> Option<i64> {
    Some(now.0 - Millis::parse(text?)?.0)
}

pub fn is_fresh(agent: &Agent, rules: &Rules) -> bool {
    age(agent.last_connected.as_deref(), rules.now).is_some_and(|age| age < rules.stale)
}
