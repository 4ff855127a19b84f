//! Looks up ids for names, and turns an action into a goal. Refuses what must not be done before anything is sent.

use std::collections::BTreeSet;

use chrono::{TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::core::time::Millis;
use crate::incydr::listing::escape;
use crate::respond::action::{Action, WatchlistPart, marker};
use crate::respond::error::{ErrorCause, RespondError};
use crate::respond::goal::Goal;
use crate::respond::leavers;
use crate::respond::request::ActionRequest;
use crate::respond::settings::RespondSettings;
use crate::respond::state::{Asker, CASES, MATTERS, Pages, SESSIONS, WATCHLISTS, current_state, text};
use crate::respond::store::ActionStore;

pub struct Resolver<'a> {
    pub asker: &'a Asker<'a>,
    pub settings: &'a RespondSettings,
    pub store: &'a ActionStore<'a>,
}

impl Resolver<'_> {
    pub async fn goal(&self, request: &ActionRequest) -> Result<Goal, RespondError> {
        let goal = self.resolved(request).await?;
        self.check_targets(goal.targets())?;
        Ok(goal)
    }

    async fn resolved(&self, request: &ActionRequest) -> Result<Goal, RespondError> {
        Ok(match request.action.clone() {
            Action::AddNote { session, content } => {
                Goal::Note { session, content, marker: marker(&request.request_id) }
            }
            Action::SetState { sessions, state } => {
                self.check_targets(sessions.len())?;
                Goal::SessionStates { sessions, state }
            }
            Action::SetStateWhere { criteria, state } => self.sessions_where(&criteria, state).await?,

            Action::CreateCase { fields } => {
                let another = self.asker.case_named(&fields["name"]).await?["number"].as_u64();
                Goal::CaseCreated { fields: self.with_ids(fields).await?, another }
            }
            Action::UpdateCase { number, changes } => {
                if changes.get("status").is_some_and(|status| status == "ARCHIVED") {
                    self.check_collected(number).await?;
                }
                Goal::CaseChanged { number, changes: self.with_ids(changes).await? }
            }
            Action::DeleteCase { number } => Goal::CaseGone { number },
            Action::CaseEvents { number, events, present } => Goal::CaseEvents { number, events, present },

            Action::Watch { list, people, part, present } => {
                self.check_targets(people.len())?;
                let list = self.watchlist(&list).await?;
                let mut actors = Vec::new();
                for person in &people {
                    actors.push(text(&self.actor(person).await?["actorId"]));
                }
                Goal::Listed { list, actors, part, present }
            }
            Action::UpdateActor { actor, changes } => {
                Goal::ActorChanged { actor: text(&self.actor(&actor).await?["actorId"]), changes }
            }
            Action::SyncLeavers { key, near_days, list } => self.leavers(&key, near_days, &list).await?,

            Action::SetUser { user, active } => {
                let user = self.user(&user).await?;
                if !active {
                    self.check_free(&user).await?;
                }
                Goal::UserActive { user: text(&user["userId"]), active }
            }
            Action::SetAgents { agents, active } => self.agents(agents, active).await?,
            Action::LegalHold { matter, user, present } => {
                Goal::Custodian { matter, user: text(&self.user(&user).await?["userId"]), present }
            }

            Action::AddTrust { fields } => Goal::TrustAdded { fields },
            Action::UpdateTrust { id, changes } => Goal::TrustChanged { id, changes },
            Action::DeleteTrust { id } => Goal::TrustGone { id },
            Action::SetRule { rule, enabled } => Goal::RuleEnabled { rule, enabled },
            Action::Read(_) => return Err(RespondError::invalid("an action that only reads has no goal")),
        })
    }

    fn check_targets(&self, targets: usize) -> Result<(), RespondError> {
        let most = self.settings.max_targets;
        if targets <= most {
            return Ok(());
        }
        let message = format!("this would change {targets} records, and MAX_TARGETS allows {most} at once");
        Err(RespondError::new(ErrorCause::TooManyTargets, message))
    }

    /// Counts the sessions, then lists them by id. A session that meets the criteria later is not changed.
    async fn sessions_where(&self, criteria: &[(String, String)], state: String) -> Result<Goal, RespondError> {
        let mut counted = criteria.to_vec();
        counted.extend([("page_number".to_owned(), "0".to_owned()), ("page_size".to_owned(), "1".to_owned())]);
        let answer = self.asker.api.get("/v1/sessions", &counted, self.asker.caller).await?.json_body;
        let total = answer["totalCount"].as_u64().ok_or_else(|| {
            let why = "GET /v1/sessions: the answer has no \"totalCount\", so the number of changes is unknown";
            RespondError::new(ErrorCause::ThirdPartyGenericError, why)
        })?;
        self.check_targets(usize::try_from(total).unwrap_or(usize::MAX))?;
        let found = self.asker.rows("/v1/sessions", criteria, &SESSIONS).await?;
        let others = found.iter().filter(|session| current_state(session) != *state.as_str());
        let mut sessions: Vec<String> = others.map(|session| text(&session["sessionId"])).collect();
        sessions.sort_unstable();
        sessions.dedup();
        Ok(Goal::SessionStates { sessions, state })
    }

    /// Replaces addresses by ids: the subject's by an actor id, the assignee's by a user id (`OpenAPI`).
    async fn with_ids(&self, mut fields: Map<String, Value>) -> Result<Map<String, Value>, RespondError> {
        if let Some(subject) = fields.get("subject").and_then(Value::as_str).filter(|subject| subject.contains('@')) {
            let id = text(&self.actor(subject).await?["actorId"]);
            fields.insert("subject".into(), id.into());
        }
        if let Some(assignee) = fields.get("assignee").and_then(Value::as_str).filter(|held| held.contains('@')) {
            let id = text(&self.user(assignee).await?["userId"]);
            fields.insert("assignee".into(), id.into());
        }
        Ok(fields)
    }

    /// Finds a watchlist by id, type or title. The SDK writes a type with underscores, the `OpenAPI` without them.
    async fn watchlist(&self, named: &str) -> Result<String, RespondError> {
        let lists = self.asker.rows("/v2/watchlists", &[], &WATCHLISTS).await?;
        for member in ["watchlistId", "listType", "title"] {
            let form = |text: &str| if member == "listType" { text.replace('_', "") } else { text.to_owned() };
            let is_named = |list: &&Value| list[member].as_str().is_some_and(|held| form(held) == form(named));
            let found: Vec<&Value> = lists.iter().filter(is_named).collect();
            match found[..] {
                [] => {}
                [list] => return Ok(text(&list["watchlistId"])),
                _ => {
                    let why = format!("{} watchlists have the {member} {named:?}: name one by its id", found.len());
                    return Err(RespondError::new(ErrorCause::ThirdPartyRefused, why));
                }
            }
        }

        Err(RespondError::new(
            ErrorCause::ThirdPartyRefused,
            format!("no watchlist has the id, the type or the title {named:?}"),
        ))
    }

    /// Finds an actor by id or by address. For an address it returns the parent actor, which stands for all of the
    /// person's accounts.
    async fn actor(&self, named: &str) -> Result<Value, RespondError> {
        if !named.contains('@')
            && let Some(actor) = self.asker.find(&format!("/v1/actors/actor/id/{}", escape(named))).await?
        {
            return Ok(actor);
        }
        let found = self.actor_by_name(named).await?;
        found.ok_or_else(|| RespondError::new(ErrorCause::ThirdPartyRefused, format!("there is no actor {named:?}")))
    }

    async fn actor_by_name(&self, name: &str) -> Result<Option<Value>, RespondError> {
        self.asker.find(&format!("/v1/actors/actor/name/{}/parent", escape(name))).await
    }

    /// Finds a user by id or user name.
    async fn user(&self, named: &str) -> Result<Value, RespondError> {
        if !named.contains('@')
            && let Some(user) = self.asker.find(&format!("/v1/users/{}", escape(named))).await?
        {
            return Ok(user);
        }
        let query = [("username".to_owned(), named.to_owned())];
        let answer = self.asker.api.get("/v1/users", &query, self.asker.caller).await?.json_body;
        let mut found = answer["users"].as_array().into_iter().flatten();
        let is_named = |user: &&Value| user["username"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(named));
        let user = found.find(is_named).cloned();
        user.ok_or_else(|| RespondError::new(ErrorCause::ThirdPartyRefused, format!("there is no user {named:?}")))
    }

    /// Leaves out agents that don't exist: the API would refuse the whole write for one of them (404 `agentsNotFound`).
    async fn agents(&self, ids: Vec<String>, active: bool) -> Result<Goal, RespondError> {
        self.check_targets(ids.len())?;

        let (mut agents, mut checked) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(agent) = self.asker.find(&format!("/v1/agents/{}", escape(&id))).await? else { continue };
            let owner = text(&agent["userId"]);
            if !active && agent["userId"] != Value::Null && !checked.contains(&owner) {
                // The user of an agent may be deleted.
                if let Some(user) = self.asker.find(&format!("/v1/users/{}", escape(&owner))).await? {
                    self.check_free(&user).await?;
                }
                checked.push(owner);
            }
            agents.push(id);
        }

        if agents.is_empty() {
            return Err(RespondError::new(ErrorCause::ThirdPartyRefused, "none of these agents exists"));
        }
        Ok(Goal::AgentsActive { agents, active })
    }

    /// Refuses to deactivate a user who is under legal hold or is the subject of an open case.
    async fn check_free(&self, user: &Value) -> Result<(), RespondError> {
        let (id, name) = (text(&user["userId"]), text(&user["username"]));
        let refused =
            |why: String| Err(RespondError::new(ErrorCause::ActionNotAllowed, format!("the user {name} {why}")));

        let path = format!("/v1/legal-hold/custodians/{}", escape(&id));
        let held = self.asker.rows(&path, &[], &MATTERS).await?;
        let held: Vec<&Value> = held.iter().filter(|matter| matter["membershipActive"] != false).collect();
        if !held.is_empty() {
            let active = [("active".to_owned(), "true".to_owned())];
            let active = self.asker.rows("/v1/legal-hold/matters", &active, &MATTERS).await?;
            if let Some(matter) = held.iter().find(|held| active.iter().any(|one| one["matterId"] == held["matterId"]))
            {
                return refused(format!("is a custodian of the active matter {}", matter["name"]));
            }
        }

        let actor = self.actor_by_name(&name).await?.map(|actor| text(&actor["actorId"]));
        let open = [("status".to_owned(), "OPEN".to_owned())];
        let open = self.asker.rows("/v1/cases", &open, &CASES).await?;
        let is_subject = |case: &&Value| {
            let subject = case["subject"].as_str();
            let of_name = case["subjectUsername"].as_str().is_some_and(|subject| subject.eq_ignore_ascii_case(&name));
            of_name || subject.is_some_and(|subject| subject == id || Some(subject) == actor.as_deref())
        };
        match open.iter().find(is_subject) {
            Some(case) => refused(format!("is the subject of the open case {}", case["number"])),
            None => Ok(()),
        }
    }

    /// Refuses to archive a case until all its file events are in the bucket, because archiving deletes them.
    async fn check_collected(&self, number: u64) -> Result<(), RespondError> {
        let attached = self.asker.case_events(number).await?;
        let missing = self.store.not_collected(number, attached, self.asker.caller.until).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let why = format!(
            "{} file events of case {number} are not in the bucket yet, and archiving deletes them: let the collector \
             read the stream case_file_events first",
            missing.len()
        );
        Err(RespondError::new(ErrorCause::ActionNotAllowed, why))
    }

    /// Returns the changes that the list asks for and that aren't made yet. An address without an actor is reported and
    /// doesn't hold up the others.
    async fn leavers(&self, key: &str, near_days: i64, list: &str) -> Result<Goal, RespondError> {
        let prefix = &self.settings.leavers_prefix;
        if !key.starts_with(prefix.as_str()) {
            return Err(RespondError::invalid(format!(
                "\"key\" is {key:?}, but must begin with LEAVERS_PREFIX ({prefix:?})"
            )));
        }

        let held = self.store.leavers(key, self.asker.caller.until).await?;
        let leavers = leavers::read(&held).map_err(|why| RespondError::invalid(format!("s3 object {key}: {why}")))?;
        let minutes = self.asker.caller.until.since(Millis::now()).as_secs() / 60 + 1;
        let most = self.settings.shared.requests_per_minute.saturating_mul(usize::try_from(minutes).unwrap_or(1));
        if leavers.len() > most {
            let why = format!(
                "the list has {} rows, but REQUESTS_PER_MINUTE allows {most} look-ups in one invocation: split the list",
                leavers.len()
            );
            return Err(RespondError::new(ErrorCause::TooManyTargets, why));
        }

        let list = self.watchlist(list).await?;
        let pages = Pages::of(WatchlistPart::Included.key(), "page", 1, ("page_size", 100));
        let path = format!("/v2/watchlists/{}/{}", escape(&list), WatchlistPart::Included.path());
        let listed: Vec<String> =
            self.asker.rows(&path, &[], &pages).await?.iter().map(|row| text(&row["actorId"])).collect();

        let soon = Utc::now().date_naive() + TimeDelta::days(near_days);
        let (mut goals, mut on, mut off, mut named) = (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        for leaver in leavers {
            let Some(actor) = self.actor_by_name(&leaver.address).await? else {
                goals.push(Goal::NoActor { address: leaver.address });
                continue;
            };
            let id = text(&actor["actorId"]);
            if !named.insert(id.clone()) {
                let why = format!("the list names the actor {id} twice, the second time as {:?}", leaver.address);
                return Err(RespondError::invalid(why));
            }
            let wanted = leaver.end_date.map_or(Value::Null, |date| date.to_string().into());
            if actor["endDate"] != wanted {
                let changes = json!({"endDate": wanted}).as_object().cloned().unwrap_or_default();
                goals.push(Goal::ActorChanged { actor: id.clone(), changes });
            }
            match leaver.end_date {
                Some(date) if date <= soon && !listed.contains(&id) => on.push(id),
                None if listed.contains(&id) => off.push(id),
                _ => {}
            }
        }

        for (actors, present) in [(on, true), (off, false)] {
            if !actors.is_empty() {
                goals.push(Goal::Listed { list: list.clone(), actors, part: WatchlistPart::Included, present });
            }
        }
        Ok(Goal::All { goals })
    }
}
