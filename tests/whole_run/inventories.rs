//! The inventories, with their datasets in the simulator, and what the bucket must have of them.

use serde_json::Value;
use simulator::{Dataset, Endpoint, Record, WorldHandle, actor_item, compact};

use crate::rig::{PREFIX, Rig, assert_same};

/// A stream and its dataset in the simulator.
#[derive(Clone, Copy)]
pub struct Stream {
    pub name: &'static str,
    pub dataset: Dataset,
    pub endpoint: Endpoint,
    /// The key of the record's id.
    pub id: &'static str,
    /// Lists that each record has: the dataset, the list's name, and the key of the record's id.
    pub lists: &'static [(Dataset, &'static str, &'static str)],
}

const fn plain(name: &'static str, dataset: Dataset, endpoint: Endpoint, id: &'static str) -> Stream {
    Stream { name, dataset, endpoint, id, lists: &[] }
}

pub const STREAMS: [Stream; 16] = [
    plain("users", Dataset::Users, Endpoint::Users, "userId"),
    plain("agents", Dataset::Agents, Endpoint::Agents, "agentId"),
    plain("devices", Dataset::Devices, Endpoint::Devices, "deviceId"),
    plain("actors", Dataset::Actors, Endpoint::Actors, "actorId"),
    plain("actor_profiles", Dataset::Actors, Endpoint::Actors, "actorId"),
    plain("departments", Dataset::Departments, Endpoint::Departments, "name"),
    plain("directory_groups", Dataset::DirectoryGroups, Endpoint::DirectoryGroups, "groupId"),
    plain("trusted_activities", Dataset::TrustedActivities, Endpoint::TrustedActivities, "activityId"),
    plain("roles", Dataset::Roles, Endpoint::Roles, "roleId"),
    plain("orgs", Dataset::Orgs, Endpoint::Orgs, "orgGuid"),
    plain("risk_indicator_categories", Dataset::RiskIndicatorCategories, Endpoint::RiskIndicatorCategories, "id"),
    plain("saved_searches", Dataset::SavedSearches, Endpoint::SavedSearches, "id"),
    Stream {
        lists: &[(Dataset::RuleUsers, "users", "_ruleId")],
        ..plain("alert_rules", Dataset::AlertRules, Endpoint::AlertRules, "id")
    },
    Stream {
        lists: &[
            (Dataset::WatchlistMembers, "members", "_watchlistId"),
            (Dataset::IncludedActors, "included_actors", "_watchlistId"),
            (Dataset::ExcludedActors, "excluded_actors", "_watchlistId"),
            (Dataset::IncludedDepartments, "included_departments", "_watchlistId"),
            (Dataset::IncludedDirectoryGroups, "included_directory_groups", "_watchlistId"),
        ],
        ..plain("watchlists", Dataset::Watchlists, Endpoint::Watchlists, "watchlistId")
    },
    Stream {
        lists: &[(Dataset::Custodians, "custodians", "_matterId")],
        ..plain("legal_hold", Dataset::Matters, Endpoint::Matters, "matterId")
    },
    Stream {
        lists: &[(Dataset::UserRoles, "roles", "_userId")],
        ..plain("user_roles", Dataset::Users, Endpoint::Users, "userId")
    },
];

impl Stream {
    pub async fn rig(self, page: usize) -> Rig {
        Rig::with(|lambda| {
            lambda.env("STREAMS", self.name).env("INVENTORY_INTERVAL_MINUTES", "0").env("PAGE_SIZE", page.to_string())
        })
        .await
    }

    pub fn populate(self, world: &WorldHandle, n: usize) -> Vec<Record> {
        let records = world.add_records(self.dataset, n);
        for (at, record) in records.iter().enumerate() {
            // Every other rule applies to everybody and has no list of users.
            if self.name == "alert_rules" && at % 2 == 1 {
                continue;
            }
            for (list, ..) in self.lists {
                world.add_children(*list, &record.id, 1 + at % 3);
            }
        }
        records
    }

    /// The lines that the bucket must have.
    pub fn lines(self, world: &WorldHandle) -> Vec<String> {
        let records = world.all(self.dataset);
        let mut lines = Vec::new();
        for record in &records {
            for (list, name, key) in self.lists {
                let parent = Value::from(&*record.id);
                let of_list = world.children(*list, &record.id);
                let list = if self.name == "user_roles" { String::new() } else { format!(r#""_list":"{name}","#) };
                lines.extend(
                    of_list.iter().map(|row| format!(r#"{{{list}"{key}":{parent},{}"#, &compact(&row.raw)[1..])),
                );
            }
        }
        if self.name == "user_roles" {
            return lines;
        }
        lines.extend(records.iter().map(|record| self.line(&record.raw)));
        if self.name == "legal_hold" {
            lines.extend(world.all(Dataset::Policies).iter().map(|policy| compact(&policy.raw)));
        }
        lines
    }

    /// The line of a record of its own list, as it is stored.
    pub fn line(self, raw: &str) -> String {
        match self.name {
            "actors" => compact(&actor_item(raw)),
            _ if raw.starts_with('"') => format!(r#"{{"name":{raw}}}"#),
            _ => compact(raw),
        }
    }

    pub async fn assert_holds(self, rig: &Rig, further: &[String]) {
        let expected = self.lines(&rig.sim.world).into_iter().chain(further.iter().cloned());
        assert_same(self.name, rig.stored(self.name).await, expected);
        let wrong = rig.sim.s3.overwritten_or_deleted(PREFIX);
        assert!(wrong.is_empty(), "not append-only: {wrong:?}");
    }
}

pub fn stream_named(name: &str) -> Stream {
    STREAMS.into_iter().find(|stream| stream.name == name).unwrap()
}

pub async fn collected(rig: &Rig, stream: Stream) -> Value {
    let answer = rig.run().await;
    assert_eq!(answer["status"], "complete", "{answer}");
    answer["streams"][stream.name].clone()
}

pub fn tombstones(lines: &[String]) -> Vec<Value> {
    let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["_deleted"] == true).collect()
}
