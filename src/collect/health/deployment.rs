//! Finds agents whose deployment went wrong, by the list of agents alone.

use std::collections::HashMap;

use crate::collect::health::finding::{Finding, FindingKind};
use crate::collect::health::holds::Holds;
use crate::collect::health::records::Agent;
use crate::collect::health::rules::{Agents, Rules, active, is_fresh};
use crate::core::time::{DAY, Millis};

/// The values of a finding's `issue`.
const NO_USER: &str = "NO_USER";
const NEVER_CONNECTED: &str = "NEVER_CONNECTED";
const SAME_DEVICE: &str = "SAME_DEVICE";

/// Finds agents without a user, agents that never connected, and fresh agents that share a device.
pub fn deployments(agents: &Agents, rules: &Rules, holds: &Holds, tell: &mut impl FnMut(Finding)) {
    let devices = devices(agents, rules);
    for (id, agent) in active(agents) {
        let mut hint = |issue: &str, why: String, advice: String| {
            let finding = Finding::of_agent(FindingKind::Deployment, id, agent, why, advice);
            let since = agent.created.map(|created| created.to_string());
            tell(Finding { issue: Some(issue.to_owned()), since, ..finding });
        };
        if agent.user_id.is_none() {
            let advice = "look how the deployment finds the device's user, and register the agent to that user";
            hint(NO_USER, "it is tied to no user".into(), advice.into());
        }
        if let Some(days) = never_connected(agent, rules) {
            let advice = "look whether the deployment names this tenant, and whether port 4287 is open from there";
            hint(NEVER_CONNECTED, format!("registered {days} days ago, and never connected"), advice.into());
        }
        let beside = agent.device.as_ref().filter(|_| is_fresh(agent, rules)).and_then(|device| devices.get(device));
        if let Some(other) = beside.and_then(|beside| beside.iter().find(|other| **other != id)) {
            let why = format!("agent {other} is on a device of the same serial number and machine id");
            let advice = "see whether the device is registered twice, and deactivate the agent that is no longer used; or whether its disk was cloned with the agent in it, and take the agent's identity out of the image";
            let advice = holds.before_deactivation(agent.user_id.as_deref(), advice);
            hint(SAME_DEVICE, why, advice);
        }
    }
}

/// The age in days of an agent that never connected. None within its first day, and once it is stale.
fn never_connected(agent: &Agent, rules: &Rules) -> Option<i64> {
    let age = |created: Millis| rules.now - created;
    let age = agent.created.map(age).filter(|age| (DAY..rules.stale).contains(age))?;
    agent.last_connected.is_none().then_some(age.num_days())
}

/// The fresh agents on each device. An agent that doesn't connect any more was most likely superseded.
fn devices<'a>(agents: &'a Agents, rules: &Rules) -> HashMap<&'a (String, String), Vec<&'a str>> {
    let mut devices = HashMap::<_, Vec<&str>>::new();
    for (id, agent) in active(agents).filter(|(_, agent)| is_fresh(agent, rules)) {
        if let Some(device) = &agent.device {
            devices.entry(device).or_default().push(id);
        }
    }
    devices
}
