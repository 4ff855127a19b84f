//! From what was read to what is found: no requests, no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::collect::error::Error;
use crate::collect::health::finding::{Finding, FindingKind, LeftOut};
use crate::collect::health::records::{Agent, Held, Hold, User};
use crate::collect::health::sources::{Counts, Listed, Sources};
use crate::core::error_kind::chain;
use crate::core::stream::Stream;
use crate::core::time::{DAY, Millis};
use crate::core::version::Version;
use crate::incydr::facts::file_events;

/// By what something is found.
pub struct Rules {
    pub now: Millis,
    /// An agent that has not connected for so long is stale.
    pub stale: i64,
    /// An agent or an observer that sent nothing for so long is silent.
    pub silence: i64,
    pub minimum_version: Option<Version>,
}

/// Tells what is found, and answers what could not be looked for.
pub fn find(sources: &Sources, rules: &Rules, tell: &mut impl FnMut(Finding)) -> Vec<LeftOut> {
    let mut left_out = LeftOuts(Vec::new());
    let agents = sources.agents.as_ref().map_err(|error| why(Stream::Agents, error));
    let users = sources.users.as_ref().map_err(|error| why(Stream::Users, error));
    match &agents {
        Ok(agents) => {
            let agents = &agents.by_id;
            stale_agents(agents, rules, tell);
            unhealthy_agents(agents, tell);
            match &sources.reporting {
                Err(error) => left_out.note(FindingKind::SilentAgent, &why(Stream::FileEvents, error)),
                Ok(reporting) => match silent_agents(agents, reporting, rules, tell) {
                    Ok(()) => {}
                    Err(why) => left_out.note(FindingKind::SilentAgent, why),
                },
            }
            outdated_agents(agents, rules, tell);
        }
        Err(why) => {
            for check in [
                FindingKind::StaleAgent,
                FindingKind::UnhealthyAgent,
                FindingKind::SilentAgent,
                FindingKind::OutdatedAgent,
            ] {
                left_out.note(check, why);
            }
        }
    }
    match (&agents, &users) {
        (Ok(agents), Ok(users)) => {
            if agents.unreadable == 0 {
                users_without_agent(&agents.by_id, &users.by_id, tell);
            } else {
                let why = format!("{} agents can't be read, and any user's may be among them", agents.unreadable);
                left_out.note(FindingKind::UserWithoutAgent, &why);
            }
            deactivated_users_with_agents(&agents.by_id, &users.by_id, tell);
        }
        (Err(why), _) | (_, Err(why)) => {
            left_out.note(FindingKind::UserWithoutAgent, why);
            left_out.note(FindingKind::DeactivatedUserWithAgent, why);
        }
    }
    for (stream, held) in [(Stream::LegalHold, &sources.custodians), (Stream::Cases, &sources.subjects)] {
        match held {
            Ok(held) => must_not_be_deactivated(held, by_id(&agents), by_id(&users), tell),
            Err(error) => left_out.note(FindingKind::MustNotBeDeactivated, &why(stream, error)),
        }
    }
    match &sources.observers {
        Ok((last, before)) => silent_observers(last, before, rules, tell),
        Err(error) => left_out.note(FindingKind::SilentObserver, &why(Stream::FileEvents, error)),
    }
    left_out.0
}

struct LeftOuts(Vec<LeftOut>);

impl LeftOuts {
    fn note(&mut self, check: FindingKind, why: &str) {
        self.0.push(LeftOut { check, why: why.to_owned() });
    }
}

fn why(stream: Stream, error: &Error) -> String {
    if error.is_forbidden() {
        return format!("not permitted: the API client needs {}", stream.permission());
    }
    format!("{stream}: {}", chain(error))
}

fn by_id<'r, T>(rows: &Result<&'r Listed<T>, String>) -> Option<&'r BTreeMap<String, T>> {
    rows.as_ref().ok().map(|rows| &rows.by_id)
}

type Agents = BTreeMap<String, Agent>;
type Users = BTreeMap<String, User>;

fn active(agents: &Agents) -> impl Iterator<Item = (&str, &Agent)> {
    agents.iter().filter(|(_, agent)| !agent.is_inactive).map(|(id, agent)| (id.as_str(), agent))
}

/// How long ago something was, in milliseconds; nothing where its time can't be read.
fn age(text: Option<&str>, now: Millis) -> Option<i64> {
    Some(now.0 - Millis::parse(text?)?.0)
}

fn stale_agents(agents: &Agents, rules: &Rules, tell: &mut impl FnMut(Finding)) {
    for (id, agent) in active(agents) {
        let (days, why) = match (&agent.last_connected, agent.created) {
            (Some(text), _) => match age(Some(text), rules.now) {
                Some(age) if age >= rules.stale => (age / DAY, format!("not connected for {} days", age / DAY)),
                _ => continue,
            },
            (None, Some(created)) if rules.now.0 - created.0 >= rules.stale => {
                let days = (rules.now.0 - created.0) / DAY;
                (days, format!("never connected since it was created {days} days ago"))
            }
            (None, _) => continue,
        };
        tell(Finding { days: Some(days), ..Finding::of_agent(FindingKind::StaleAgent, id, agent, why) });
    }
}

/// One for each of its issues.
fn unhealthy_agents(agents: &Agents, tell: &mut impl FnMut(Finding)) {
    for (id, agent) in active(agents) {
        for issue in &agent.issues {
            let why = format!("its health issue is {issue}");
            tell(Finding {
                issue: Some(issue.clone()),
                ..Finding::of_agent(FindingKind::UnhealthyAgent, id, agent, why)
            });
        }
    }
}

/// The vendor doesn't say that an event's `user.deviceUid` is the agent's id. Where none ever is, it is something else,
/// and nobody is silent.
fn silent_agents(
    agents: &Agents,
    reporting: &Counts,
    rules: &Rules,
    tell: &mut impl FnMut(Finding),
) -> Result<(), &'static str> {
    if reporting.len() >= file_events::MOST_GROUPS {
        return Err("more devices report than the API counts at once");
    }
    if !reporting.keys().any(|device| agents.contains_key(device)) {
        return Err("no file event of that time names a device that is an agent's id");
    }
    let days = rules.silence / DAY;
    for (id, agent) in active(agents) {
        let connects = age(agent.last_connected.as_deref(), rules.now).is_some_and(|age| age < rules.silence);
        // What was installed today may not have had anything to report.
        let is_new = agent.created.is_some_and(|created| rules.now.0 - created.0 < DAY);
        if connects && !is_new && !reporting.contains_key(id) {
            let why = format!("it connects, but has reported no file event for {days} days");
            tell(Finding { days: Some(days), ..Finding::of_agent(FindingKind::SilentAgent, id, agent, why) });
        }
    }
    Ok(())
}

/// Behind the newest of those alike, or behind what is demanded.
fn outdated_agents(agents: &Agents, rules: &Rules, tell: &mut impl FnMut(Finding)) {
    let mut newest = HashMap::<(&str, &str), Version>::new();
    let of = |agent: &Agent| agent.version.as_deref().and_then(Version::parse);
    for (_, agent) in active(agents) {
        if let (Some(alike), Some(version)) = (alike(agent), of(agent)) {
            let newest = newest.entry(alike).or_insert_with(|| version.clone());
            if *newest < version {
                *newest = version;
            }
        }
    }
    for (id, agent) in active(agents) {
        let Some(version) = of(agent) else { continue };
        let newest = alike(agent).and_then(|alike| Some((alike, newest.get(&alike)?)));
        let behind_newest = newest
            .filter(|(_, newest)| version < **newest)
            .map(|((os, kind), newest)| format!("behind {newest}, the newest among {os} agents of type {kind}"));
        let behind_minimum = rules.minimum_version.as_ref().filter(|minimum| version < **minimum);
        let behind_minimum = behind_minimum.map(|minimum| format!("behind the MINIMUM_AGENT_VERSION {minimum}"));
        let behind: Vec<String> = behind_newest.into_iter().chain(behind_minimum).collect();
        if !behind.is_empty() {
            let why = format!("its version {version} is {}", behind.join(" and "));
            let version = Some(version.to_string());
            tell(Finding { version, ..Finding::of_agent(FindingKind::OutdatedAgent, id, agent, why) });
        }
    }
}

/// Only agents for the same system and of the same type have versions that compare.
fn alike(agent: &Agent) -> Option<(&str, &str)> {
    Some((agent.os.as_deref()?, agent.kind.as_deref()?))
}

fn users_without_agent(agents: &Agents, users: &Users, tell: &mut impl FnMut(Finding)) {
    let with: HashSet<&str> = active(agents).filter_map(|(_, agent)| agent.user_id.as_deref()).collect();
    for (id, user) in users.iter().filter(|(id, user)| !user.is_inactive && !with.contains(id.as_str())) {
        let why = "an active user without an active agent".to_owned();
        tell(Finding {
            user_id: Some(id.clone()),
            username: user.username.clone(),
            ..Finding::new(FindingKind::UserWithoutAgent, why)
        });
    }
}

fn deactivated_users_with_agents(agents: &Agents, users: &Users, tell: &mut impl FnMut(Finding)) {
    for (id, agent) in active(agents) {
        let user = agent.user_id.as_ref().and_then(|id| users.get(id));
        if let Some(user) = user.filter(|user| user.is_inactive) {
            let why = "its user is deactivated, but it is active".to_owned();
            tell(Finding {
                username: user.username.clone(),
                ..Finding::of_agent(FindingKind::DeactivatedUserWithAgent, id, agent, why)
            });
        }
    }
}

/// The user, and each agent of theirs.
fn must_not_be_deactivated(
    held: &[Held],
    agents: Option<&Agents>,
    users: Option<&Users>,
    tell: &mut impl FnMut(Finding),
) {
    let mut by_user = HashMap::<&str, Vec<(&str, &Agent)>>::new();
    for (id, agent) in agents.into_iter().flat_map(active) {
        if let Some(user) = &agent.user_id {
            by_user.entry(user).or_default().push((id, agent));
        }
    }
    for held in held {
        let user = users.and_then(|users| users.get(&held.user_id));
        let username = held.username.clone().or_else(|| user?.username.clone());
        let quoted = |name: &Option<String>| name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let (matter_id, case_number, reason) = match &held.by {
            Hold::Matter { id, name } => {
                (Some(id.clone()), None, format!("a custodian of the legal hold matter{}", quoted(name)))
            }
            Hold::Case { number, name } => {
                (None, Some(*number), format!("the subject of the open case {number}{}", quoted(name)))
            }
        };
        let of = |finding: Finding| Finding {
            user_id: Some(held.user_id.clone()),
            username: username.clone(),
            matter_id: matter_id.clone(),
            case_number,
            ..finding
        };
        let is_too_late = if user.is_some_and(|user| user.is_inactive) { ", and deactivated already" } else { "" };
        tell(of(Finding::new(FindingKind::MustNotBeDeactivated, format!("the user is {reason}{is_too_late}"))));
        for (id, agent) in by_user.get(held.user_id.as_str()).into_iter().flatten() {
            let why = format!("its user is {reason}");
            tell(of(Finding::of_agent(FindingKind::MustNotBeDeactivated, id, agent, why)));
        }
    }
}

/// The nearest thing to the state of a data connection, which the API doesn't tell.
fn silent_observers(last: &Counts, before: &Counts, rules: &Rules, tell: &mut impl FnMut(Finding)) {
    let days = rules.silence / DAY;
    let mut silent: Vec<(&String, &u64)> =
        before.iter().filter(|(observer, _)| !last.contains_key(*observer)).collect();
    silent.sort_unstable();
    for (observer, records) in silent {
        let why = format!("no file event for {days} days, and {records} in the {days} days before");
        tell(Finding {
            observer: Some(observer.clone()),
            days: Some(days),
            records: Some(*records),
            ..Finding::new(FindingKind::SilentObserver, why)
        });
    }
}

#[cfg(test)]
mod tests;
