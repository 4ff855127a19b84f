//! The streams: their names and classes. `incydr::facts` says how each is read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::dialect::Dialect;
use crate::core::ndjson;
use crate::core::time::Millis;

/// The class of a stream: the behaviour of its records over time. `incydr::facts::Kind` is the class with its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Records that never change once visible.
    Events,
    /// Records that change, and whose changes the API can list.
    Versions,
    /// Records that change, and whose changes the API can't list.
    Rescanned,
    /// Records without a time filter.
    Inventory,
    /// Findings that are derived from other streams' records.
    Findings,
}

impl Class {
    /// Whether its records are compared with those that are known.
    pub fn is_compared(self) -> bool {
        !matches!(self, Self::Events | Self::Findings)
    }
}

/// Each variant has a name, a class, and the permission that the API client needs, as the console names it. The name is
/// used in `STREAMS`, in the keys of objects and on the checkpoint. The order is that in which a run requests them:
/// events first, and those that take many requests last.
macro_rules! streams {
    ($($variant:ident: $name:literal, $class:ident, $permission:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stream {
            $($variant,)+
        }

        impl Stream {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            pub fn class(self) -> Class {
                match self {
                    $(Self::$variant => Class::$class,)+
                }
            }

            pub fn permission(self) -> &'static str {
                match self {
                    $(Self::$variant => $permission,)+
                }
            }
        }
    };
}

streams! {
    FileEvents: "file_events", Events, "File Events: Read (needs a plan with full API access; without it sessions, cases and session_events still show some of them)";
    Audit: "audit", Events, "Audit Log: Read";
    Sessions: "sessions", Rescanned, "Alerts and Sessions: Read";
    Cases: "cases", Versions, "Cases: Read";
    Users: "users", Inventory, "Users: Read";
    Agents: "agents", Inventory, "Agents: Read";
    Devices: "devices", Inventory, "Devices: Read";
    Actors: "actors", Inventory, "Actors: Read";
    Departments: "departments", Inventory, "Departments: Read";
    DirectoryGroups: "directory_groups", Inventory, "Directory Groups: Read";
    TrustedActivities: "trusted_activities", Inventory, "Trusted Activities: Read";
    Roles: "roles", Inventory, "Users: Read";
    Orgs: "orgs", Inventory, "Organizations: Read";
    RiskIndicatorCategories: "risk_indicator_categories", Inventory, "Risk Indicators: Read";
    Customer: "customer", Inventory, "Customer: Read";
    SavedSearches: "saved_searches", Inventory, "File Events: Read (needs a plan with full API access)";
    AlertRules: "alert_rules", Inventory, "Alert Rules: Read";
    Watchlists: "watchlists", Inventory, "Watchlists: Read";
    LegalHold: "legal_hold", Inventory, "Legal Hold: Read";
    CaseFileEvents: "case_file_events", Inventory, "Cases: Read";
    SessionEvents: "session_events", Rescanned, "Alerts and Sessions: Read";
    UserRoles: "user_roles", Inventory, "Users: Read";
    ActorProfiles: "actor_profiles", Inventory, "Actors: Read";
    EnvironmentHealth: "environment_health", Findings, "Agents: Read (with Users, Actors, Watchlists, Legal Hold, Cases and File Events: Read for all findings)";
}

/// Further names that `STREAMS` accepts.
const ALIASES: [(&str, Stream); 1] = [("alerts", Stream::Sessions)];

impl Stream {
    /// Whether an API of this dialect has the stream.
    pub fn is_in(self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Sdk => true,
            Dialect::Guide => matches!(self, Self::FileEvents | Self::Audit | Self::Cases | Self::Users),
        }
    }

    /// The class that the stream is read as in this dialect. The guide's API lists cases without a filter for changes.
    pub fn class_in(self, dialect: Dialect) -> Class {
        match (self, dialect) {
            (Self::Cases, Dialect::Guide) => Class::Inventory,
            (other, _) => other.class(),
        }
    }

    /// The path to an event's own time. None for other streams: their records are stored by the instant of their
    /// reading.
    pub fn time_field(self) -> Option<&'static [&'static str]> {
        match self {
            Self::FileEvents => Some(&["event", "inserted"]),
            Self::Audit => Some(&["timestamp"]),
            _ => None,
        }
    }

    pub fn time_of(self, record: &str) -> Option<Millis> {
        Millis::parse(&ndjson::field(record, self.time_field()?)?)
    }

    /// Parses a name in `STREAMS`. The error lists the known names.
    pub fn parse(name: &str) -> Result<Self, String> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, stream)| *stream);
        let known = || Self::ALL.iter().map(|stream| stream.name()).collect::<Vec<_>>().join(", ");
        let named = Self::ALL.iter().copied().find(|stream| stream.name() == name);
        named.or(alias).ok_or_else(|| format!("{name:?} is not a stream; the streams are {}", known()))
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}
