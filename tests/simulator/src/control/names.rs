//! The endpoints' names for tests in other languages.

use simulator::Endpoint;

const NAMES: [(&str, Endpoint); 42] = [
    ("sign_in", Endpoint::SignIn),
    ("customer", Endpoint::Customer),
    ("users", Endpoint::Users),
    ("audit_search", Endpoint::AuditSearch),
    ("audit_count", Endpoint::AuditCount),
    ("case_list", Endpoint::CaseList),
    ("case_detail", Endpoint::CaseDetail),
    ("file_events", Endpoint::FileEvents),
    ("file_event_grouping", Endpoint::FileEventGrouping),
    ("sessions", Endpoint::Sessions),
    ("session_detail", Endpoint::SessionDetail),
    ("session_events", Endpoint::SessionEvents),
    ("case_file_events", Endpoint::CaseFileEvents),
    ("case_file_event_detail", Endpoint::CaseFileEventDetail),
    ("agents", Endpoint::Agents),
    ("devices", Endpoint::Devices),
    ("user_devices", Endpoint::UserDevices),
    ("actors", Endpoint::Actors),
    ("actor_detail", Endpoint::ActorDetail),
    ("watchlists", Endpoint::Watchlists),
    ("watchlist_members", Endpoint::WatchlistMembers),
    ("included_actors", Endpoint::IncludedActors),
    ("excluded_actors", Endpoint::ExcludedActors),
    ("included_departments", Endpoint::IncludedDepartments),
    ("included_directory_groups", Endpoint::IncludedDirectoryGroups),
    ("departments", Endpoint::Departments),
    ("directory_groups", Endpoint::DirectoryGroups),
    ("alert_rules", Endpoint::AlertRules),
    ("rule_users", Endpoint::RuleUsers),
    ("trusted_activities", Endpoint::TrustedActivities),
    ("roles", Endpoint::Roles),
    ("user_roles", Endpoint::UserRoles),
    ("orgs", Endpoint::Orgs),
    ("risk_indicator_categories", Endpoint::RiskIndicatorCategories),
    ("matters", Endpoint::Matters),
    ("custodians", Endpoint::Custodians),
    ("policies", Endpoint::Policies),
    ("guide_audit", Endpoint::GuideAudit),
    ("guide_file_events", Endpoint::GuideFileEvents),
    ("write", Endpoint::Write),
    ("detail", Endpoint::Detail),
    ("any", Endpoint::Any),
];

pub fn endpoint(name: &str) -> Option<Endpoint> {
    NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, endpoint)| endpoint)
}
