//! People and devices besides the users (SDK: agents, devices, actors, departments, directory groups, roles, orgs,
//! customer).

use chrono::{DateTime, TimeDelta, Utc};

use super::{Generator, Known, TENANT, choice, micros, nth_or, quoted};
use crate::world::Dataset;

impl Generator {
    /// An agent. One in seven is inactive, one in four unhealthy, and one in 13 has never connected.
    pub(crate) fn agent(&mut self, at: DateTime<Utc>, known: &Known) -> String {
        let n = self.next(Dataset::Agents);
        let issues = ["NOT_CONNECTING", "NOT_SENDING_SECURITY_EVENTS", "SECURITY_INGEST_REJECTED"];
        let issue = quoted(choice(&mut self.rng, &issues));
        let connected = self.time_text(at);
        let raw = format!(
            r#"{{"agentId":"{id}","name":"DESKTOP-{n:05} {spice}","userId":{user},"osHostname":"desktop-{n}",
                "osName":"{os}","machineId":"{n}","serialNumber":{serial},"active":{active},"agentType":"{kind}",
                "agentHealthIssueTypes":[{issues}],"agentHealthModificationDate":"{created}","appVersion":"{app}",
                "productVersion":"{product}","lastConnected":{connected},"externalReference":null,
                "creationDate":"{created}","modificationDate":"{modified}","newNumber":{number}}}"#,
            id = 1_068_825_680_073_059_134 + n,
            user = self.owner(n, known),
            spice = self.spice(),
            os = choice(&mut self.rng, &["Win", "Mac", "Linux"]),
            serial = if self.rng.bool() { "null".to_owned() } else { format!("\"C42-{n}\"") },
            active = !n.is_multiple_of(7),
            kind = choice(&mut self.rng, &["CODE42AAT", "COMBINED", "CODE42"]),
            issues = if n.is_multiple_of(4) { &*issue } else { "" },
            app = choice(&mut self.rng, &["1.0", "1.12.3", "2.0.0-rc.1"]),
            product = choice(&mut self.rng, &["2.0", "2.1.4", "10.3.0"]),
            connected = if n.is_multiple_of(13) { "null".to_owned() } else { quoted(&connected) },
            created = micros(at - TimeDelta::days(90)),
            modified = micros(at),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn device(&mut self, at: DateTime<Utc>, known: &Known) -> String {
        let n = self.next(Dataset::Devices);
        let raw = format!(
            r#"{{"deviceId":"{id}","legacyDeviceId":"{n}","name":"DESKTOP-{n:05}","osHostname":"{spice}",
                "status":"Active","active":{active},"blocked":{blocked},"alertState":{alert},"userId":{user},
                "legacyUserId":"legacy-{n}","orgId":"{n}","legacyOrgId":"{n}","orgGuid":null,
                "externalReferenceInfo":null,"notes":null,"lastConnected":"{connected}","osVersion":"10.0.19043",
                "osArch":"amd64","address":"192.0.2.7:4247","remoteAddress":"203.0.113.9",
                "timeZone":"America/Chicago","version":"10.3.0","build":81,"creationDate":"{created}",
                "modificationDate":"{modified}","loginDate":"{created}","osName":"win64","newNumber":{number}}}"#,
            id = 1_068_825_680_073_059_134 + n,
            spice = self.spice(),
            active = !n.is_multiple_of(5),
            blocked = n.is_multiple_of(7),
            alert = n % 3,
            user = self.owner(n, known),
            connected = self.time_text(at),
            created = micros(at - TimeDelta::days(90)),
            modified = micros(at),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// An actor. One in three is a child of the one before it.
    pub(crate) fn actor(&mut self) -> String {
        let n = self.next(Dataset::Actors);
        let raw = format!(
            r#"{{"active":{active},"actorId":"{id}","alternateNames":["{alternate}"],"country":"{country}",
                "department":"Department {department}","division":null,"employeeType":"full-time","endDate":null,
                "firstName":"{first}","inScope":{scope},"lastName":"{last}","locality":null,
                "managerActorId":"{manager}","name":"actor{n}@example.com","notes":{notes},
                "parentActorId":{parent},"region":null,"startDate":"2024-09-18","title":"{title}",
                "newNumber":{number}}}"#,
            active = !n.is_multiple_of(5),
            id = actor_id(n),
            alternate = self.spice(),
            country = choice(&mut self.rng, &["Deutschland", "\u{65e5}\u{672c}", "United States"]),
            department = n % 9,
            first = self.spice(),
            scope = self.rng.bool(),
            last = self.spice(),
            manager = actor_id(1),
            notes = if self.rng.bool() { "null".to_owned() } else { format!("\"{}\"", self.spice()) },
            parent = if n.is_multiple_of(3) { format!("\"{}\"", actor_id(n - 1)) } else { "null".to_owned() },
            title = self.spice(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// A JSON string.
    pub(crate) fn department(&mut self) -> String {
        let n = self.next(Dataset::Departments);
        format!("\"Department {n}: {}\"", self.spice())
    }

    pub(crate) fn directory_group(&mut self) -> String {
        let n = self.next(Dataset::DirectoryGroups);
        let raw =
            format!(r#"{{"groupId":"group-{n}","name":"Group {n} {}","newNumber":{}}}"#, self.spice(), self.number());
        self.laid_out(&raw)
    }

    pub(crate) fn role(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::Roles);
        let raw = format!(
            r#"{{"roleId":"role-{n}","roleName":"Role {n} {spice}","creationDate":"{created}",
                "modificationDate":"{modified}","permissions":[{{"permission":"alerts.read","description":"{spice2}"}},
                {{"permission":"watchlists.write","description":null}}],"newNumber":{number}}}"#,
            spice = self.spice(),
            created = micros(at - TimeDelta::days(90)),
            modified = self.time_text(at),
            spice2 = self.spice(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn user_role(&mut self, at: DateTime<Utc>, place: usize, known: &Known) -> String {
        let raw = format!(
            r#"{{"roleId":{id},"roleName":"{spice}","creationDate":"{created}","modificationDate":"{modified}",
                "permissionIds":["alerts.read","watchlists.write"],"newNumber":{number}}}"#,
            id = nth_or(&known.roles, place, || format!("other-role-{place}")),
            spice = self.spice(),
            created = micros(at - TimeDelta::days(90)),
            modified = self.time_text(at),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    /// An org. Orgs write times in two forms (SDK, `orgs/models.py`, accepts any).
    pub(crate) fn org(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::Orgs);
        let formats = ["%Y-%m-%dT%H:%M:%S%.3fZ", "%Y-%m-%dT%H:%M:%S%.3f+00:00"];
        let raw = format!(
            r#"{{"orgGuid":"{guid}","orgName":"Org {n} {spice}","orgExtRef":null,"notes":null,
                "parentOrgGuid":{parent},"active":{active},"creationDate":"{created}","modificationDate":"{modified}",
                "deactivationDate":null,"registrationKey":"USRR-2C8M-CS28-C9WW","userCount":{n},"computerCount":0,
                "orgCount":0,"newNumber":{number}}}"#,
            guid = org_guid(n),
            spice = self.spice(),
            parent = if n == 1 { "null".to_owned() } else { format!("\"{}\"", org_guid(1)) },
            active = !n.is_multiple_of(5),
            created = (at - TimeDelta::days(90)).format(choice(&mut self.rng, &formats)),
            modified = micros(at),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn customer(&mut self) -> String {
        let n = self.next(Dataset::Customer);
        let raw = format!(
            r#"{{"name":"{}","registrationKey":"key-{n}","tenantId":"{TENANT}","newNumber":{}}}"#,
            self.spice(),
            self.number()
        );
        self.laid_out(&raw)
    }

    /// The id of an existing user if there is one, in quotes.
    fn owner(&mut self, n: u64, known: &Known) -> String {
        let places = known.users.len().max(1) as u64;
        let place = usize::try_from(n % places).unwrap_or_default();
        nth_or(&known.users, place, || (900_000 + self.rng.u32(0..40)).to_string())
    }
}

pub(super) fn actor_id(n: u64) -> u64 {
    1_004_440_923_549_707_297 + n * 7919
}

fn org_guid(n: u64) -> String {
    format!("7ed19049-3266-42ff-a3c9-{n:012x}")
}
