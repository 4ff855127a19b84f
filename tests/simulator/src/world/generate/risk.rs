//! Sessions, and the records that they depend on (SDK: sessions, watchlists, alert rules, trusted activities, risk
//! indicator categories).

use chrono::{DateTime, TimeDelta, Utc};

use super::{Generator, Known, TENANT, choice, micros, nth_or, people::actor_id, quoted};
use crate::world::Dataset;

impl Generator {
    /// A session. Its id is `<actorId>_<beginTime>`, as in the Sumo Logic sample. All times are milliseconds since the
    /// epoch.
    pub(crate) fn session(&mut self, begin: DateTime<Utc>, with_alerts: bool, known: &Known) -> String {
        let n = self.next(Dataset::Sessions);
        let begin = begin.timestamp_millis();
        let end = begin + self.rng.i64(1_000..10_000_000);
        let actor = self.session_actor(n, begin, known);
        let alert = format!(
            r#"{{"alertId":"alert-{n}","ruleId":"rule-{rule}","ruleName":"{name}","lessonId":null}}"#,
            rule = n % 5,
            name = self.spice()
        );
        let raw = format!(
            r#"{{"sessionId":"{actor}_{begin}","tenantId":"{TENANT}","actorId":"{actor}","actorName":"{name}",
                "userId":null,"type":"{kind}","beginTime":{begin},"endTime":{end},"firstObserved":{observed},
                "lastUpdated":{updated},"noRiskEvents":{n},"lowEvents":0,"moderateEvents":0,"highEvents":0,
                "criticalEvents":1,"notes":[{{"id":"note-{n}","content":"{note}","sourceTimestamp":{observed},
                "userId":"{actor}"}}],"riskIndicators":[{{"id":"Flight risk","weight":3,"eventCount":1,
                "name":"{indicator}"}}],"riskIndicatorsAlertedOn":[],"scores":[{{"score":{score},
                "severity":{severity},"sourceTimestamp":{scored}}}],"triggeredAlerts":[{alerts}],
                "states":[{{"state":"{state}","stateV2":"{state}","sourceTimestamp":{observed},"userId":null}}],
                "exfiltrationSummary":"{summary}","contextSummary":"",
                "contentInspectionResults":{inspected},"newNumber":{number}}}"#,
            name = self.email(),
            kind = choice(&mut self.rng, &["STANDARD", "STANDARD", "ACCOUNT_TAKE_OVER"]),
            observed = begin + 249_000,
            updated = end + 578_000,
            note = self.spice(),
            indicator = self.spice(),
            score = self.rng.u8(0..20),
            severity = self.rng.u8(0..5),
            // The newest score is newer than `lastUpdated` (Sumo Logic sample).
            scored = end + 600_000,
            alerts = if with_alerts { &*alert } else { "" },
            state = choice(&mut self.rng, &["OPEN", "IN_PROGRESS", "CLOSED_TP", "OPEN_NEW_DATA"]),
            summary = self.spice(),
            inspected = inspected(n),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// The next existing actor, unless it has a session that begins at the same millisecond.
    fn session_actor(&mut self, n: u64, begin: i64, known: &Known) -> String {
        let places = known.actors.len().max(1) as u64;
        let place = usize::try_from(n % places).unwrap_or_default();
        let next = known.actors.get(place).map(ToString::to_string);
        let free = next.filter(|actor| !self.sessions.contains(&(actor.clone(), begin)));
        let actor = free.unwrap_or_else(|| actor_id(1_000_000 + n).to_string());
        self.sessions.insert((actor.clone(), begin));
        actor
    }

    pub(crate) fn watchlist(&mut self) -> String {
        let n = self.next(Dataset::Watchlists);
        // As the SDK writes them, which can't read a type without underscores. The `OpenAPI` has "DEPARTINGEMPLOYEE".
        let kinds = ["CUSTOM", "DEPARTING_EMPLOYEE", "FLIGHT_RISK", "NEW_EMPLOYEE"];
        let raw = format!(
            r#"{{"description":{description},"listType":"{kind}","stats":{{"includedDepartmentsCount":2,
                "includedDirectoryGroupsCount":1,"includedActorsCount":{n},"excludedActorsCount":0,
                "excludedDepartmentsCount":0,"excludedDirectoryGroupsCount":0}},"tenantId":"{TENANT}",
                "title":"List {n} {title}","watchlistId":"1c7dd799-1aa0-4f3a-bae8-{n:012x}","newNumber":{number}}}"#,
            description = if self.rng.bool() { "null".to_owned() } else { format!("\"{}\"", self.spice()) },
            kind = choice(&mut self.rng, &kinds),
            title = self.spice(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// A watchlist's member, included actor or excluded actor. The member is `actorname`, with a small n (SDK,
    /// `watchlists/models/responses.py`).
    pub(crate) fn listed_actor(&mut self, at: DateTime<Utc>, place: usize, known: &Known) -> String {
        let raw = format!(
            r#"{{"addedTime":"{added}","actorId":{id},"actorname":"{name}","newNumber":{number}}}"#,
            added = self.time_text(at),
            id = nth_or(&known.actors, place, || format!("other-actor-{place}")),
            name = self.email(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn included_department(&mut self, at: DateTime<Utc>, place: usize, known: &Known) -> String {
        let made = || format!("\"Other department {place}\"");
        let name = known.departments.get(place).map_or_else(made, ToString::to_string);
        let raw = format!(r#"{{"addedTime":"{}","name":{name},"newNumber":{}}}"#, self.time_text(at), self.number());
        self.laid_out(&raw)
    }

    pub(crate) fn included_group(&mut self, at: DateTime<Utc>, place: usize, known: &Known) -> String {
        let raw = format!(
            r#"{{"addedTime":"{added}","groupId":{id},"isDeleted":false,"name":"{name}","newNumber":{number}}}"#,
            added = self.time_text(at),
            id = nth_or(&known.groups, place, || format!("other-group-{place}")),
            name = self.spice(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// An alert rule. The first and every other one has a username filter. Times have seven digits (SDK, tests).
    pub(crate) fn alert_rule(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::AlertRules);
        let username = r#"{"mode":"INCLUDE","usernames":["user1@example.com"],"criteriaOrder":3}"#;
        let raw = format!(
            r#"{{"id":"ecec5037-aedc-4cf9-aad3-{n:012x}","name":"Rule {n} {name}","description":"{description}",
                "severity":"{severity}","isEnabled":{enabled},"source":"{source}","notifications":{{"isEnabled":true,
                "contacts":[{{"isEnabled":true,"type":"EMAIL","address":"soc@example.com"}}]}},"education":null,
                "vectors":{{"cloudSharing":{{"observeAll":false,"box":{{"observeAll":true,"publicLinkShare":true,
                "directShare":true}},"googleDrive":null,"oneDrive":null,"criteriaOrder":3}},"download":null,
                "email":{{"observeAll":true,"gmail":true,"microsoft365":true,"criteriaOrder":0}},"fileUpload":null,
                "removableMedia":{{"isEnabled":true,"criteriaOrder":3}}}},"filters":{{"fileCategory":null,
                "fileName":{{"patterns":["*.cs","{pattern}"],"criteriaOrder":3}},"fileTypeMismatch":null,
                "fileVolume":{{"countGreaterThan":125,"operator":"AND","sizeGreaterThanInBytes":9007199254740993,
                "criteriaOrder":3}},"riskIndicator":null,"riskSeverity":null,"username":{username},
                "watchlist":null}},"createdAt":"{created}","createdBy":"admin@example.com","modifiedAt":"{modified}",
                "modifiedBy":"admin@example.com","isSystemRule":{system},"systemRemovedRiskIndicators":[],
                "alertOnBlockedBrowserActivity":false,"newNumber":{number}}}"#,
            name = self.spice(),
            description = self.spice(),
            severity = choice(&mut self.rng, &["Low", "Medium", "High"]),
            enabled = self.rng.bool(),
            source = choice(&mut self.rng, &["Alerting", "Departing Employee"]),
            pattern = self.spice(),
            username = if n % 2 == 1 { username } else { "null" },
            created = sevenths(at - TimeDelta::days(90)),
            modified = sevenths(at),
            system = self.rng.bool(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn rule_user(&mut self, place: usize, known: &Known) -> String {
        let id = nth_or(&known.users, place, || format!("other-user-{place}"));
        let aliases = format!("{},\"{}\"", quoted(&self.email()), self.spice());
        let raw = format!(r#"{{"userIdFromAuthority":{id},"aliases":[{aliases}],"newNumber":{}}}"#, self.number());
        self.laid_out(&raw)
    }

    pub(crate) fn trusted_activity(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::TrustedActivities);
        let raw = format!(
            r#"{{"activityActionGroups":[{{"name":"DEFAULT","activityActions":[{{"type":"CLOUD_SHARE",
                "providers":[{{"name":"BOX"}}]}}]}}],"activityId":"{n}","isHighValueSource":{high},
                "description":{description},"principalType":{principal},"type":"{kind}","updateTime":{updated},
                "updatedByPrincipalId":"999","updatedByPrincipalName":"{name}","value":"{value}",
                "newNumber":{number}}}"#,
            high = self.rng.bool(),
            description = if self.rng.bool() { "null".to_owned() } else { format!("\"{}\"", self.spice()) },
            principal = choice(&mut self.rng, &["null", "\"USER\"", "\"API_KEY\""]),
            kind = choice(&mut self.rng, &["DOMAIN", "SLACK", "GIT_REPOSITORY_URI"]),
            updated = if n.is_multiple_of(6) { "null".to_owned() } else { quoted(&micros(at)) },
            name = self.spice(),
            value = self.spice(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// `OpenAPI`, `SavedSearchDetail`; SDK, `file_events/models/response.py`.
    pub(crate) fn saved_search(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::SavedSearches);
        let raw = format!(
            r#"{{"apiVersion":2,"columns":["@timestamp","file.name"],"createdByUID":"8061506858343{n:05}",
                "createdByUsername":"{creator}","creationTimestamp":"{created}","groupClause":"{clause}",
                "groups":[{{"filterClause":"OR","filters":[{{"operator":"IS","term":"risk.severity","value":"HIGH"}},
                {{"operator":"IS_ANY","term":"file.name","value":["a.txt","{value}"]}}]}}],
                "id":"cde979fa-d551-4be9-b242-{n:012x}","modifiedByUID":"421380797518239242",
                "modifiedByUsername":"{modifier}","modifiedTimestamp":"{modified}","name":"Search {n} {name}",
                "notes":{notes},"srtDir":{direction},"srtKey":"event.id","newNumber":{number}}}"#,
            creator = self.email(),
            created = micros(at - TimeDelta::days(9)),
            clause = choice(&mut self.rng, &["AND", "OR"]),
            value = self.spice(),
            modifier = self.email(),
            modified = micros(at),
            name = self.spice(),
            notes = if self.rng.bool() { "null".to_owned() } else { format!("\"{}\"", self.spice()) },
            direction = choice(&mut self.rng, &["null", "\"asc\"", "\"desc\""]),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn risk_indicator_category(&mut self) -> String {
        let n = self.next(Dataset::RiskIndicatorCategories);
        let raw = format!(
            r#"{{"id":"category-{n}","name":"{name}","description":null,"subcategories":[{{"id":"sub-{n}",
                "name":"{sub}","description":"{description}","standardIndicators":[{{"id":"standard-{n}",
                "name":"{standard}","description":null}}],"customIndicators":[]}}],"newNumber":{number}}}"#,
            name = self.spice(),
            sub = self.spice(),
            description = self.spice(),
            standard = self.spice(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }
}

/// The results of content inspection: in the SDK's form for half of the sessions, and in the `OpenAPI`'s for the others.
fn inspected(n: u64) -> String {
    let status = match n % 8 {
        0 => "PENDING",
        2 => "PII_NOT_FOUND",
        4 => "PII_FOUND",
        6 => "UNPROCESSED",
        _ => return r#"{"detectedOnAlerts":["PII"]}"#.to_owned(),
    };
    format!(
        r#"{{"status":"{status}","eventResults":[{{"eventId":"event-{n}","piiType":["US_SSN"],"status":"{status}"}}]}}"#
    )
}

fn sevenths(time: DateTime<Utc>) -> String {
    format!("{}7Z", time.format("%Y-%m-%dT%H:%M:%S%.6f"))
}
