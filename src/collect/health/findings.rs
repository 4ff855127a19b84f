//! The checks: plain functions from the lists to findings, without requests or a clock.

use std::collections::{BTreeMap, HashMap};

use crate::collect::error::Error;
use crate::collect::health::deployment::deployments;
use crate::collect::health::ends::{EndDates, active_by_name};
use crate::collect::health::finding::{Finding, FindingKind, LeftOut};
use crate::collect::health::holds::{Holds, People, must_not_be_deactivated};
use crate::collect::health::records::{Actor, Agent};
use crate::collect::health::roles::{Roles, without_agent};
use crate::collect::health::rules::{Agents, Rules, Users, active, age, is_fresh};
use crate::collect::health::silent::{silent_agents, silent_observers};
use crate::collect::health::sources::Sources;
use crate::core::agent_version::AgentVersion;
use crate::core::error_type::chain;
use crate::core::stream::Stream;

/// Makes all checks. Passes each finding to `tell`, and returns the checks that could not be made. A finding
/// without a date has the time of these checks as its `since`.
pub fn find(sources: &Sources, rules: &Rules, tell: &mut impl FnMut(Finding)) -> Vec<LeftOut> {
    let tell = &mut |finding: Finding| {
        let since = finding.since.clone().or_else(|| Some(rules.now.to_string()));
        tell(Finding { since, ..finding });
    };
    let mut left_out = LeftOuts(Vec::new());
    let agents = sources.agents.as_ref().map_err(|error| why(Stream::Agents, error));
    let users = sources.users.as_ref().map_err(|error| why(Stream::Users, error));
    let holds = Holds::of(sources);

    match &agents {
        Ok(agents) => {
            let agents = &agents.by_id;
            stale_agents(agents, rules, &holds, tell);
            unhealthy_agents(agents, tell);
            match &sources.reporting {
                Err(error) => left_out.note(FindingKind::SilentAgent, &why(Stream::FileEvents, error)),
                Ok(reporting) => match silent_agents(agents, reporting, &sources.last_events, rules, tell) {
                    Ok(()) => {}
                    Err(why) => left_out.note(FindingKind::SilentAgent, why),
                },
            }
            outdated_agents(agents, rules, tell);
            deployments(agents, rules, &holds, tell);
        }
        Err(why) => {
            for check in [
                FindingKind::StaleAgent,
                FindingKind::SupersededAgent,
                FindingKind::UnhealthyAgent,
                FindingKind::SilentAgent,
                FindingKind::OutdatedAgent,
                FindingKind::Deployment,
            ] {
                left_out.note(check, why);
            }
        }
    }

    match (&agents, &users) {
        (Ok(agents), Ok(users)) => {
            if agents.unreadable == 0 {
                users_without_agent(&agents.by_id, &users.by_id, &sources.roles, tell);
            } else {
                let why = format!(
                    "{} agents can't be read, so a user who seems to have none may have one of these",
                    agents.unreadable
                );
                left_out.note(FindingKind::UserWithoutAgent, &why);
            }
            deactivated_users_with_agents(&agents.by_id, &users.by_id, &holds, tell);
        }
        (Err(why), _) | (_, Err(why)) => {
            left_out.note(FindingKind::UserWithoutAgent, why);
            left_out.note(FindingKind::DeactivatedUserWithAgent, why);
        }
    }

    match (&sources.actors, &users) {
        (Ok(actors), Ok(users)) => {
            left_but_active(&actors.by_id, &sources.ends, &users.by_id, rules, &holds, tell);
            if let Some(why) = &sources.ends.unread {
                left_out.note(FindingKind::LeftButActive, why);
            }
        }
        (Err(error), _) => left_out.note(FindingKind::LeftButActive, &why(Stream::Actors, error)),
        (_, Err(why)) => left_out.note(FindingKind::LeftButActive, why),
    }

    let people = People::of(sources);
    for (stream, list) in [(Stream::LegalHold, &sources.custodians), (Stream::Cases, &sources.subjects)] {
        match list {
            Ok(list) => {
                must_not_be_deactivated(&list.held, &people, agents.as_ref().ok().map(|agents| &agents.by_id), tell);
                if list.unreadable > 0 {
                    let why = format!(
                        "{stream}: {} rows can't be read, and each could name a person who must be kept",
                        list.unreadable
                    );
                    left_out.note(FindingKind::MustNotBeDeactivated, &why);
                }
            }
            Err(error) => left_out.note(FindingKind::MustNotBeDeactivated, &why(stream, error)),
        }
    }

    match &sources.observers {
        Ok(observers) => silent_observers(observers, rules, tell),
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

/// Finds agents that have not connected for too long. If their user has a fresh agent, they are superseded: most likely
/// the device was replaced.
fn stale_agents(agents: &Agents, rules: &Rules, holds: &Holds, tell: &mut impl FnMut(Finding)) {
    let fresh: HashMap<&str, &str> = active(agents)
        .filter(|(_, agent)| is_fresh(agent, rules))
        .filter_map(|(id, agent)| Some((agent.user_id.as_deref()?, id)))
        .collect();
    for (id, agent) in active(agents) {
        let (days, why) = match (&agent.last_connected, agent.created) {
            (Some(text), _) => match age(Some(text), rules.now) {
                Some(age) if age >= rules.stale => {
                    (age.num_days(), format!("not connected for {} days", age.num_days()))
                }
                _ => continue,
            },
            (None, Some(created)) if rules.now - created >= rules.stale => {
                let days = (rules.now - created).num_days();
                (days, format!("never connected since it was created {days} days ago"))
            }
            (None, _) => continue,
        };

        let user = agent.user_id.as_deref();
        let (finding, why, advice) = match user.and_then(|user| fresh.get(user)) {
            Some(other) => (
                FindingKind::SupersededAgent,
                format!("{why}, while its user's agent {other} connects"),
                "deactivate it, if its device was replaced",
            ),
            None => (
                FindingKind::StaleAgent,
                why,
                "see whether the device is still in use: if so, whether port 4287 is open and TLS inspection leaves the connection alone; if not, deactivate the agent",
            ),
        };

        let since = agent.last_connected.clone().or_else(|| agent.created.map(|created| created.to_string()));
        let advice = holds.before_deactivation(user, advice);
        tell(Finding { days: Some(days), since, ..Finding::of_agent(finding, id, agent, why, advice) });
    }
}

/// Finds the health issues of agents, one finding for each issue.
fn unhealthy_agents(agents: &Agents, tell: &mut impl FnMut(Finding)) {
    for (id, agent) in active(agents) {
        for issue in &agent.issues {
            let why = format!("its health issue is {issue}");
            let advice = advice_on(issue).to_owned();
            tell(Finding {
                issue: Some(issue.clone()),
                since: agent.health_changed.clone().or_else(|| agent.last_connected.clone()),
                ..Finding::of_agent(FindingKind::UnhealthyAgent, id, agent, why, advice)
            });
        }
    }
}

/// The advice on a health issue, by its name (SDK, `agents/models.py`).
fn advice_on(issue: &str) -> &'static str {
    match issue {
        "NOT_CONNECTING" => {
            "check that port 4287 to the vendor's cloud is open, and that no TLS inspection stands between"
        }
        "NOT_SENDING_SECURITY_EVENTS" => {
            "check that its user may be monitored and the agent runs, then restart it; upgrade it where it is outdated"
        }
        "SECURITY_INGEST_REJECTED" => "check that its user is active and within the plan, then sign the agent in again",
        "MISSING_MACOS_PERMISSION_FULL_DISK_ACCESS" => {
            "grant the agent full disk access on the Mac, by the device management's profile"
        }
        "MISSING_MACOS_PERMISSION_ACCESSIBILITY" => {
            "grant the agent accessibility on the Mac, by the device management's profile"
        }
        _ => "look the issue up in the console's list of agents",
    }
}

/// Finds agents with an older version than the newest comparable agent, or than `MINIMUM_AGENT_VERSION`.
fn outdated_agents(agents: &Agents, rules: &Rules, tell: &mut impl FnMut(Finding)) {
    let mut newest = HashMap::<(&str, &str), AgentVersion>::new();
    let of = |agent: &Agent| agent.version.as_deref().and_then(AgentVersion::parse);
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
            let advice = "upgrade it, or see why the console's own upgrades don't reach it".to_owned();
            tell(Finding { version, ..Finding::of_agent(FindingKind::OutdatedAgent, id, agent, why, advice) });
        }
    }
}

/// Operating system and agent type. The versions of two agents are comparable only if both are the same.
fn alike(agent: &Agent) -> Option<(&str, &str)> {
    Some((agent.os.as_deref()?, agent.kind.as_deref()?))
}

/// Finds active users without an active agent, except administrators and analysts.
fn users_without_agent(agents: &Agents, users: &Users, roles: &Roles, tell: &mut impl FnMut(Finding)) {
    for id in without_agent(agents, users).into_iter().filter(|id| !roles.spared.contains(id)) {
        let Some(user) = users.get(&id) else { continue };
        let roles = if roles.unread.contains(&id) {
            "its roles were not read"
        } else {
            "administrators and analysts are left out"
        };
        let why = format!("an active user without an active agent ({roles})");
        let advice =
            "install the agent on the user's device; where there is none, ask HR whether the user is still there";
        tell(Finding {
            user_id: Some(id),
            username: user.username.clone(),
            since: user.created.clone(),
            ..Finding::new(FindingKind::UserWithoutAgent, why, advice.to_owned())
        });
    }
}

fn deactivated_users_with_agents(agents: &Agents, users: &Users, holds: &Holds, tell: &mut impl FnMut(Finding)) {
    for (id, agent) in active(agents) {
        let user = agent.user_id.as_ref().and_then(|id| users.get(id));
        if let Some(user) = user.filter(|user| user.is_inactive) {
            let why = "its user is deactivated, but it is active".to_owned();
            let advice = holds.before_deactivation(agent.user_id.as_deref(), "deactivate the agent");
            tell(Finding {
                username: user.username.clone(),
                since: user.changed.clone(),
                ..Finding::of_agent(FindingKind::DeactivatedUserWithAgent, id, agent, why, advice)
            });
        }
    }
}

/// Finds active users whose actor has left or is inactive. An actor and a user of the same name are the same person.
fn left_but_active(
    actors: &BTreeMap<String, Actor>,
    ends: &EndDates,
    users: &Users,
    rules: &Rules,
    holds: &Holds,
    tell: &mut impl FnMut(Finding),
) {
    let by_name = active_by_name(users);
    let today = rules.now.date_time().date_naive().to_string();
    for (actor_id, actor) in actors {
        let Some(name) = &actor.name else { continue };
        let Some(ids) = by_name.get(&name.to_lowercase()) else { continue };
        let end = actor.end.as_ref().or_else(|| ends.by_actor.get(actor_id));
        let left = end.map(String::as_str).filter(|end| *end < today.as_str());
        let why = match left {
            Some(end) => format!("the user is active, and left on {end}"),
            None if actor.is_inactive => "the user is active, and the actor of that name is not".to_owned(),
            None => continue,
        };

        let advice = "ask HR whether the person has left, and deactivate the user then";
        for id in ids {
            let advice = holds.before_deactivation(Some(id), advice);
            tell(Finding {
                user_id: Some((*id).clone()),
                username: Some(name.clone()),
                since: left.map(str::to_owned),
                ..Finding::new(FindingKind::LeftButActive, why.clone(), advice)
            });
        }
    }
}

#[cfg(test)]
mod tests;
