//! The table of lists.

use super::{
    Most, Pages, Sort, Tells,
    filter::{
        Asks::{Any, AnyOf, Empty, End, Flag, Named, NotWithin, Part, Start, Text, Within},
        Filter,
    },
};
use crate::{
    api::cases,
    fault::Endpoint,
    world::{Dataset, Record, actor_item},
};

#[derive(Debug)]
pub(in crate::api) struct List {
    pub(in crate::api) endpoint: Endpoint,
    /// `{}` is the id of the record that the rows belong to.
    pub(in crate::api) path: &'static str,
    pub(super) dataset: Dataset,
    /// The dataset and the member that names the owner, if the rows belong to a record without being its children.
    pub(super) owner: Option<(Dataset, &'static str)>,
    /// The member that holds the rows. None if the body is the array itself.
    pub(super) key: Option<&'static str>,
    pub(super) tells: Tells,
    /// None: everything in one page.
    pub(super) pages: Option<Pages>,
    pub(super) filters: &'static [Filter],
    pub(super) sort: Option<Sort>,
    pub(super) shows: fn(&Record) -> String,
}

/// The defaults of most lists: no pages, no total, no filters, rows unchanged.
const PLAIN: List = List {
    endpoint: Endpoint::Unknown,
    path: "",
    dataset: Dataset::Customer,
    owner: None,
    key: None,
    tells: Tells::Nothing,
    pages: None,
    filters: &[],
    sort: None,
    shows: |record| record.raw.to_string(),
};

/// The greatest page of lists for which the vendor publishes none.
const MAX_PAGE: Most = Most::Cut(500);

/// `page` from 1 and `pageSize`, or `page_size`.
const PAGE_SIZE: Pages =
    Pages { page: "page", first: 1, size: "pageSize", default: 100, most: MAX_PAGE, problems: None };
const PAGE_SIZE_SNAKE: Pages = Pages { size: "page_size", ..PAGE_SIZE };

const AGENT_ORDER: Sort = Sort {
    key: "srtKey",
    direction: "srtDir",
    members: &[
        ("NAME", "name"),
        ("USER_ID", "userId"),
        ("AGENT_TYPE", "agentType"),
        ("OS_HOSTNAME", "osHostname"),
        ("LAST_CONNECTED", "lastConnected"),
        ("OS_NAME", "osName"),
    ],
    then: "",
};

const DEVICE_ORDER: Sort = Sort {
    key: "sortKey",
    direction: "sortDirection",
    members: &[("name", "name"), ("osHostname", "osHostname"), ("os", "osName"), ("lastConnected", "lastConnected")],
    then: "",
};

const ACTIVITY_ORDER: Sort = Sort {
    key: "sort_key",
    direction: "sort_direction",
    members: &[
        ("", ""),
        ("ACTIVITY_ID", "activityId"),
        ("DESCRIPTION", "description"),
        ("TYPE", "type"),
        ("UPDATED_BY_PRINCIPAL_NAME", "updatedByPrincipalName"),
        ("UPDATE_TIME", "updateTime"),
        ("VALUE", "value"),
    ],
    then: "updateTime",
};

/// A list that belongs to a watchlist.
const fn listed(endpoint: Endpoint, path: &'static str, dataset: Dataset, key: &'static str) -> List {
    let (tells, pages) = (Tells::Total, Some(PAGE_SIZE_SNAKE));
    List { endpoint, path, dataset, key: Some(key), tells, pages, ..PLAIN }
}

pub(in crate::api) static LISTS: [List; 23] = [
    List {
        endpoint: Endpoint::Agents,
        path: "/v1/agents",
        dataset: Dataset::Agents,
        key: Some("agents"),
        tells: Tells::Page,
        pages: Some(Pages { default: 500, ..PAGE_SIZE }),
        filters: &[
            ("active", Flag, "active"),
            ("agentType", Named(&["CODE42AAT", "COMBINED", "CODE42"]), "agentType"),
            ("agentHealthy", Empty, "agentHealthIssueTypes"),
            ("anyOfAgentHealthIssueTypes", AnyOf, "agentHealthIssueTypes"),
            ("agentHealthModifiedInLastDays", Within, "agentHealthModificationDate"),
            ("userId", Text, "userId"),
            ("connectedInLastDays", Within, "lastConnected"),
            ("notConnectedInLastDays", NotWithin, "lastConnected"),
            ("serialNumber", Text, "serialNumber"),
        ],
        sort: Some(AGENT_ORDER),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Devices,
        path: "/v1/devices",
        dataset: Dataset::Devices,
        key: Some("devices"),
        tells: Tells::Total,
        // code42cli lowered this from 500 because of timeouts.
        pages: Some(Pages { most: Most::Published(2_000), ..PAGE_SIZE }),
        filters: &[("active", Flag, "active"), ("blocked", Flag, "blocked")],
        sort: Some(DEVICE_ORDER),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::UserDevices,
        path: "/v1/users/{}/devices",
        dataset: Dataset::Devices,
        owner: Some((Dataset::Users, "userId")),
        key: Some("devices"),
        tells: Tells::Total,
        pages: Some(Pages { default: 500, most: Most::Published(2_000), ..PAGE_SIZE }),
        filters: &[("active", Flag, "active"), ("blocked", Flag, "blocked")],
        sort: Some(DEVICE_ORDER),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Actors,
        path: "/v1/actors/actor/search",
        dataset: Dataset::Actors,
        key: Some("actors"),
        // OpenAPI, ActorSearchProblemResponse.
        pages: Some(Pages {
            most: Most::Published(500),
            problems: Some(["PAGE_TOO_SMALL", "PAGE_SIZE_TOO_SMALL", "PAGE_SIZE_TOO_LARGE"]),
            ..PAGE_SIZE
        }),
        filters: &[("nameStartsWith", Start, "name"), ("nameEndsWith", End, "name"), ("active", Flag, "active")],
        shows: |actor| actor_item(&actor.raw),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Watchlists,
        path: "/v2/watchlists",
        dataset: Dataset::Watchlists,
        key: Some("watchlists"),
        tells: Tells::Total,
        pages: Some(PAGE_SIZE_SNAKE),
        ..PLAIN
    },
    listed(Endpoint::WatchlistMembers, "/v2/watchlists/{}/members", Dataset::WatchlistMembers, "watchlistMembers"),
    listed(Endpoint::IncludedActors, "/v2/watchlists/{}/included-actors", Dataset::IncludedActors, "includedActors"),
    listed(Endpoint::ExcludedActors, "/v2/watchlists/{}/excluded-actors", Dataset::ExcludedActors, "excludedActors"),
    listed(
        Endpoint::IncludedDepartments,
        "/v2/watchlists/{}/included-departments",
        Dataset::IncludedDepartments,
        "includedDepartments",
    ),
    listed(
        Endpoint::IncludedDirectoryGroups,
        "/v2/watchlists/{}/included-directory-groups",
        Dataset::IncludedDirectoryGroups,
        "includedDirectoryGroups",
    ),
    List {
        endpoint: Endpoint::Departments,
        path: "/v1/departments",
        dataset: Dataset::Departments,
        key: Some("departments"),
        tells: Tells::Total,
        pages: Some(PAGE_SIZE_SNAKE),
        filters: &[("name", Part, "")],
        ..PLAIN
    },
    List {
        endpoint: Endpoint::DirectoryGroups,
        path: "/v1/directory-groups",
        dataset: Dataset::DirectoryGroups,
        key: Some("directoryGroups"),
        tells: Tells::Total,
        pages: Some(PAGE_SIZE_SNAKE),
        filters: &[("name", Part, "name")],
        ..PLAIN
    },
    List {
        endpoint: Endpoint::AlertRules,
        path: "/v2/alert-rules",
        dataset: Dataset::AlertRules,
        pages: Some(Pages { page: "PageNumber", first: 0, size: "PageSize", default: 10, ..PAGE_SIZE }),
        filters: &[("WatchlistId", Text, "filters.watchlist.watchlists.id")],
        ..PLAIN
    },
    List {
        endpoint: Endpoint::TrustedActivities,
        path: "/v2/trusted-activities",
        dataset: Dataset::TrustedActivities,
        key: Some("trustedActivities"),
        tells: Tells::Total,
        pages: Some(PAGE_SIZE_SNAKE),
        filters: &[("type", Any, "type")],
        sort: Some(ACTIVITY_ORDER),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Roles,
        path: "/v1/users/roles",
        dataset: Dataset::Roles,
        pages: Some(Pages { most: Most::Published(1_000), ..PAGE_SIZE }),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::UserRoles,
        path: "/v1/users/{}/roles",
        dataset: Dataset::UserRoles,
        key: Some("roles"),
        pages: Some(Pages { most: Most::Published(1_000), ..PAGE_SIZE }),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Orgs,
        path: "/v1/orgs",
        dataset: Dataset::Orgs,
        key: Some("orgs"),
        tells: Tells::Total,
        filters: &[("active", Flag, "active")],
        ..PLAIN
    },
    List {
        endpoint: Endpoint::RiskIndicatorCategories,
        path: "/v1/risk-indicator-categories",
        dataset: Dataset::RiskIndicatorCategories,
        key: Some("categories"),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::SavedSearches,
        path: "/v2/file-events/saved-searches",
        dataset: Dataset::SavedSearches,
        key: Some("searches"),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Matters,
        path: "/v1/legal-hold/matters",
        dataset: Dataset::Matters,
        key: Some("matters"),
        pages: Some(Pages { default: 500, ..PAGE_SIZE }),
        filters: &[("active", Flag, "active"), ("name", Part, "name"), ("creatorUserId", Text, "creator.userId")],
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Custodians,
        path: "/v1/legal-hold/matters/{}/custodians",
        dataset: Dataset::Custodians,
        key: Some("custodians"),
        pages: Some(Pages { default: 500, ..PAGE_SIZE }),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::Policies,
        path: "/v1/legal-hold/policies",
        dataset: Dataset::Policies,
        key: Some("policies"),
        // Only the later OpenAPI has pages.
        pages: Some(PAGE_SIZE),
        ..PLAIN
    },
    List {
        endpoint: Endpoint::CaseFileEvents,
        path: "/v1/cases/{}/fileevent",
        dataset: Dataset::CaseFileEvents,
        key: Some("events"),
        tells: Tells::Total,
        pages: Some(Pages { page: "pgNum", size: "pgSize", default: 10_000, most: Most::Cut(10_000), ..PAGE_SIZE }),
        filters: &[("archiveId", Text, "file.archiveId")],
        shows: cases::event_summary,
        ..PLAIN
    },
];

/// The members that hold the rows, of all endpoints.
pub(in crate::api) fn keys() -> Vec<&'static str> {
    let others = ["cases", "fileEvents", "groups", "items", "queryResult", "users"];
    LISTS.iter().filter_map(|list| list.key).chain(others).collect()
}

/// The parameters for the page number, of all endpoints.
pub(in crate::api) fn page_numbers() -> Vec<&'static str> {
    LISTS.iter().filter_map(|list| Some(list.pages?.page)).chain(["page_number"]).collect()
}
