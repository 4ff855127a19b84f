//! The kinds of records: their names, and the paths of their id and cursor time.

use super::without_members;

/// The members that only an actor's profile has (`OpenAPI`: the search returns id, name, active and parent).
const PROFILE: [&str; 15] = [
    "alternateNames",
    "country",
    "department",
    "division",
    "employeeType",
    "endDate",
    "firstName",
    "inScope",
    "lastName",
    "locality",
    "managerActorId",
    "notes",
    "region",
    "startDate",
    "title",
];

/// An actor in the form of the list.
pub fn actor_item(raw: &str) -> String {
    without_members(raw, &PROFILE)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dataset {
    FileEvents,
    Audit,
    Users,
    Cases,
    Sessions,
    Agents,
    Devices,
    Actors,
    Watchlists,
    /// Each record is a JSON string, which is its id too.
    Departments,
    DirectoryGroups,
    AlertRules,
    TrustedActivities,
    Roles,
    Orgs,
    RiskIndicatorCategories,
    SavedSearches,
    Matters,
    Policies,
    /// Exactly one record, which exists from the start.
    Customer,
    /// Whole v2 file events. The list shows a summary of each.
    CaseFileEvents,
    SessionEvents,
    WatchlistMembers,
    IncludedActors,
    ExcludedActors,
    IncludedDepartments,
    IncludedDirectoryGroups,
    RuleUsers,
    UserRoles,
    Custodians,
}

/// A path in a record's text. Empty means the text itself.
type Path = &'static [&'static str];

struct Kind {
    name: &'static str,
    /// None: the id is not in the text.
    id: Option<Path>,
    time: Path,
    parent: Option<Dataset>,
}

const fn kind(name: &'static str, id: Path, time: Path) -> Kind {
    Kind { name, id: Some(id), time, parent: None }
}

const fn child(parent: Dataset, name: &'static str, id: Path, time: Path) -> Kind {
    Kind { name, id: Some(id), time, parent: Some(parent) }
}

const NONE: Path = &[];

impl Dataset {
    /// All of them, parents before their children.
    pub const ALL: [Self; 30] = [
        Self::FileEvents,
        Self::Audit,
        Self::Users,
        Self::Cases,
        Self::Sessions,
        Self::Agents,
        Self::Devices,
        Self::Actors,
        Self::Watchlists,
        Self::Departments,
        Self::DirectoryGroups,
        Self::AlertRules,
        Self::TrustedActivities,
        Self::Roles,
        Self::Orgs,
        Self::RiskIndicatorCategories,
        Self::SavedSearches,
        Self::Matters,
        Self::Policies,
        Self::Customer,
        Self::CaseFileEvents,
        Self::SessionEvents,
        Self::WatchlistMembers,
        Self::IncludedActors,
        Self::ExcludedActors,
        Self::IncludedDepartments,
        Self::IncludedDirectoryGroups,
        Self::RuleUsers,
        Self::UserRoles,
        Self::Custodians,
    ];

    /// The name for tests in other languages: `file_events`, `case_file_events`, `legal_hold_matters`.
    pub fn name(self) -> &'static str {
        self.kind().name
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dataset| dataset.name() == name)
    }

    /// The dataset of its records' parents.
    pub fn parent(self) -> Option<Self> {
        self.kind().parent
    }

    pub(super) fn id_path(self) -> Option<Path> {
        self.kind().id
    }

    pub(super) fn time_path(self) -> Path {
        self.kind().time
    }

    /// Paths of ids and times according to the SDK's models.
    fn kind(self) -> Kind {
        match self {
            Self::FileEvents => kind("file_events", &["event", "id"], &["event", "inserted"]),
            // Audit events have no id (SDK, audit_log/models.py). They get one that isn't in the text.
            Self::Audit => Kind { name: "audit", id: None, time: &["timestamp"], parent: None },
            Self::Users => kind("users", &["userId"], &["modificationDate"]),
            Self::Cases => kind("cases", &["number"], &["updatedAt"]),
            Self::Sessions => kind("sessions", &["sessionId"], &["beginTime"]),
            Self::Agents => kind("agents", &["agentId"], &["modificationDate"]),
            Self::Devices => kind("devices", &["deviceId"], &["modificationDate"]),
            Self::Actors => kind("actors", &["actorId"], NONE),
            Self::Watchlists => kind("watchlists", &["watchlistId"], NONE),
            Self::Departments => kind("departments", NONE, NONE),
            Self::DirectoryGroups => kind("directory_groups", &["groupId"], NONE),
            Self::AlertRules => kind("alert_rules", &["id"], &["modifiedAt"]),
            Self::TrustedActivities => kind("trusted_activities", &["activityId"], &["updateTime"]),
            Self::Roles => kind("roles", &["roleId"], &["modificationDate"]),
            Self::Orgs => kind("orgs", &["orgGuid"], &["modificationDate"]),
            Self::RiskIndicatorCategories => kind("risk_indicator_categories", &["id"], NONE),
            Self::SavedSearches => kind("saved_searches", &["id"], &["modifiedTimestamp"]),
            Self::Matters => kind("legal_hold_matters", &["matterId"], &["creationDate"]),
            Self::Policies => kind("legal_hold_policies", &["policyId"], &["modificationDate"]),
            Self::Customer => kind("customer", &["tenantId"], NONE),
            Self::CaseFileEvents => child(Self::Cases, "case_file_events", &["event", "id"], &["event", "inserted"]),
            Self::SessionEvents => child(Self::Sessions, "session_events", &["event", "id"], &["event", "inserted"]),
            Self::WatchlistMembers => child(Self::Watchlists, "watchlist_members", &["actorId"], &["addedTime"]),
            Self::IncludedActors => child(Self::Watchlists, "included_actors", &["actorId"], &["addedTime"]),
            Self::ExcludedActors => child(Self::Watchlists, "excluded_actors", &["actorId"], &["addedTime"]),
            Self::IncludedDepartments => child(Self::Watchlists, "included_departments", &["name"], &["addedTime"]),
            Self::IncludedDirectoryGroups => {
                child(Self::Watchlists, "included_directory_groups", &["groupId"], &["addedTime"])
            }
            Self::RuleUsers => child(Self::AlertRules, "rule_users", &["userIdFromAuthority"], NONE),
            Self::UserRoles => child(Self::Users, "user_roles", &["roleId"], &["modificationDate"]),
            Self::Custodians => child(Self::Matters, "custodians", &["userId"], &["membershipCreationDate"]),
        }
    }
}
