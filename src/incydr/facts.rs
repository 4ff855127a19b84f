//! The facts about each stream: endpoints, paging, fields. Each stream has a file with its facts; `collect` uses them.

pub mod guide;
mod kind;
mod list;

pub use kind::{Detail, Events, Facts, Findings, Inventory, Kind, Newest, Part, Rescanned, Sublist, Total, Versions};
pub use list::{List, Method, Paging};

use crate::core::audit_source::AuditSource;
use crate::core::dialect::Dialect;
use crate::core::settings::Settings;
use crate::core::stream::Stream;

/// Declares a module for each stream, whose `FACTS` are returned for it.
macro_rules! facts {
    ($($variant:ident: $module:ident),+ $(,)?) => {
        $(pub mod $module;)+

        impl Stream {
            pub fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$variant => &$module::FACTS,)+
                }
            }
        }
    };
}

facts! {
    FileEvents: file_events,
    Audit: audit,
    Sessions: sessions,
    Cases: cases,
    Users: users,
    Agents: agents,
    Devices: devices,
    Actors: actors,
    Departments: departments,
    DirectoryGroups: directory_groups,
    TrustedActivities: trusted_activities,
    Roles: roles,
    Orgs: orgs,
    RiskIndicatorCategories: risk_indicator_categories,
    Customer: customer,
    SavedSearches: saved_searches,
    AlertRules: alert_rules,
    Watchlists: watchlists,
    LegalHold: legal_hold,
    CaseFileEvents: case_file_events,
    SessionEvents: session_events,
    UserRoles: user_roles,
    ActorProfiles: actor_profiles,
    EnvironmentHealth: environment_health,
}

impl Stream {
    pub fn kind(self) -> &'static Kind {
        &self.facts().kind
    }

    /// The kind that the stream has in a dialect. None if the dialect doesn't have the stream.
    pub fn kind_in(self, dialect: Dialect) -> Option<&'static Kind> {
        match dialect {
            Dialect::Sdk => Some(self.kind()),
            Dialect::Guide => guide::kind(self),
        }
    }

    /// The kind by which the settings have the stream read: `AUDIT_SOURCE` and `INCYDR_API_DIALECT`. None if the
    /// dialect doesn't have the stream.
    pub fn kind_by(self, settings: &Settings) -> Option<&'static Kind> {
        match (self, settings.audit_source) {
            (Self::Audit, AuditSource::Export) => Some(&audit::EXPORT),
            _ => self.kind_in(settings.dialect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stream::Class;

    #[test]
    fn what_a_stream_is_called_agrees_with_how_it_is_read() {
        for stream in Stream::ALL.iter().copied() {
            for dialect in [Dialect::Sdk, Dialect::Guide] {
                let kind = stream.kind_in(dialect);
                assert_eq!(stream.is_in(dialect), kind.is_some(), "{stream}");
                let class = match kind {
                    Some(Kind::Events(facts)) => {
                        assert_eq!(stream.time_field(), Some(facts.list.field), "{stream}");
                        Class::Events
                    }
                    Some(Kind::Versions(_)) => Class::Versions,
                    Some(Kind::Rescanned(_)) => Class::Rescanned,
                    Some(Kind::Inventory(_)) => Class::Inventory,
                    Some(Kind::Findings(_)) => Class::Findings,
                    None => continue,
                };
                assert_eq!(stream.class_in(dialect), class, "{stream}");
            }
        }
    }
}
