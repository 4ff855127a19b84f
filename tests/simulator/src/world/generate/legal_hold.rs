//! Legal hold (SDK, `legal_hold/models.py`): matters, their custodians, policies.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Generator, Known, choice, micros, nth_or};
use crate::world::Dataset;

const CREATOR: &str = r#"{"type":"API_KEY","principalId":"key-42","displayName":"legal \ud83d\udcdc"}"#;

impl Generator {
    pub(crate) fn matter(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::Matters);
        let raw = format!(
            r#"{{"matterId":"{id}","name":"Matter {n} {name}","description":"{description}","notes":null,
                "active":{active},"creationDate":"{created}","policyId":"{policy}",
                "creator":{{"userId":"{creator}","username":"user1@example.com"}},"creatorPrincipal":{CREATOR},
                "newNumber":{number}}}"#,
            id = 1_221_742_823_190_440_525 + n,
            name = self.spice(),
            description = self.spice(),
            active = !n.is_multiple_of(4),
            created = self.time_text(at),
            policy = policy_id(1 + n % 3),
            creator = choice(&mut self.rng, &["7001", "7002"]),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn policy(&mut self, at: DateTime<Utc>) -> String {
        let n = self.next(Dataset::Policies);
        let raw = format!(
            r#"{{"policyId":"{id}","name":"Policy {n} {name}","creationDate":"{created}",
                "modificationDate":"{modified}","creatorUser":null,"creatorPrincipal":{CREATOR},
                "newNumber":{number}}}"#,
            id = policy_id(n),
            name = self.spice(),
            created = micros(at - TimeDelta::days(90)),
            modified = self.time_text(at),
            number = self.number(),
        );
        self.laid_out(&raw)
    }

    pub(crate) fn custodian(&mut self, at: DateTime<Utc>, place: usize, known: &Known) -> String {
        let raw = format!(
            r#"{{"membershipActive":{active},"membershipCreationDate":"{created}","userId":{id},"name":null,
                "email":"{email}","username":"{email}","newNumber":{number}}}"#,
            active = self.rng.bool(),
            created = self.time_text(at),
            id = nth_or(&known.users, place, || format!("other-user-{place}")),
            email = self.email(),
            number = self.number(),
        );
        self.laid_out(&raw)
    }
}

fn policy_id(n: u64) -> u64 {
    1_221_742_699_257_145_933 + n
}
