//! What the vendor says about each endpoint, with the source beside it.

/// The facts about one endpoint.
#[derive(Clone, Copy)]
pub struct Fact {
    pub method: &'static str,
    /// `{}` is an id.
    pub path: &'static str,
    /// The parameters of the query string, or the members of the body.
    pub takes: &'static [&'static str],
    /// The parameter for the page size, and its greatest value: the vendor's, or ours if it publishes none.
    pub size: Option<(&'static str, u64)>,
    /// The page size if a request names none, and whether a page size above the greatest is refused.
    pub default: Option<(u64, bool)>,
    pub answers: Answers,
    /// The source: the vendor's `OpenAPI` of 2024-08-30, its later edition (2024-09-13), or the SDK's file.
    pub source: &'static str,
}

/// The form of an answer, with the members that each row, or the record, has.
#[derive(Clone, Copy, Debug)]
pub enum Answers {
    /// A list under one of these keys, the key of the total, and the members of a row.
    List(&'static [&'static str], Option<&'static str>, &'static [&'static str]),
    /// The answer is the list itself.
    Bare(&'static [&'static str]),
    Record(&'static [&'static str]),
}

impl Answers {
    /// Answers that differ from this one in one place each: no answer of the simulator is like them.
    pub fn others(self) -> Vec<Self> {
        const NONE: &[&str] = &["noSuchMember"];
        match self {
            Self::List(keys, total, has) => {
                let no_total = total.map(|_| Self::List(keys, Some(NONE[0]), has));
                [Self::List(NONE, total, has), Self::List(keys, total, NONE)].into_iter().chain(no_total).collect()
            }
            Self::Bare(_) => vec![Self::Bare(NONE), Self::List(NONE, None, &[])],
            Self::Record(_) => vec![Self::Record(NONE), Self::Bare(&[])],
        }
    }
}

const TOTAL: Option<&str> = Some("totalCount");

pub const fn get(path: &'static str, takes: &'static [&'static str], source: &'static str) -> Fact {
    Fact { method: "GET", path, takes, size: None, default: None, answers: Answers::Record(&[]), source }
}

const fn paged(
    path: &'static str,
    takes: &'static [&'static str],
    size: (&'static str, u64),
    source: &'static str,
) -> Fact {
    Fact { size: Some(size), ..get(path, takes, source) }
}

const fn post(
    path: &'static str,
    takes: &'static [&'static str],
    size: Option<(&'static str, u64)>,
    source: &'static str,
) -> Fact {
    Fact { method: "POST", size, ..get(path, takes, source) }
}

impl Fact {
    pub const fn answers(self, answers: Answers) -> Self {
        Self { answers, ..self }
    }

    /// Pages of `rows` by default. A page size above the greatest is accepted.
    const fn usually(self, rows: u64) -> Self {
        Self { default: Some((rows, false)), ..self }
    }

    /// Pages of `rows` by default. A page size above the greatest is refused.
    const fn strictly(self, rows: u64) -> Self {
        Self { default: Some((rows, true)), ..self }
    }
}

const OPENAPI: &str = "OpenAPI 2024-08-30";
const LATER: &str = "OpenAPI 2024-09-13";
/// The collector asks these lists for no more, like py42: the vendor publishes no greatest page for them.
const OURS: u64 = 500;
/// The same for alert rules, of which a page has 10 by default.
const OURS_OF_RULES: u64 = 100;
const AUDIT: &[&str] = &[
    "actorIds",
    "actorIpAddresses",
    "actorNames",
    "dateRange",
    "eventTypes",
    "page",
    "pageSize",
    "resourceIds",
    "userTypes",
];
const PAGES: &[&str] = &["page", "pageSize"];
const SNAKE: &[&str] = &["page", "page_size"];

pub const FACTS: [Fact; 39] =
    [
        // The OpenAPI has `grant_type` in the query. The collector sends it as a form (RFC 6749), which isn't logged. The
        // OpenAPI's members are in camel case.
        post("/v1/oauth", &["grant_type"], None, OPENAPI).answers(Answers::Record(&[
            "access_token",
            "token_type",
            "expires_in",
        ])),
        paged("/v1/users", &["active", "blocked", "username", "page", "pageSize"], ("pageSize", OURS), OPENAPI)
            .answers(Answers::List(&["users"], TOTAL, &["userId", "username", "active"]))
            .usually(500),
        paged("/v1/users/roles", PAGES, ("pageSize", 1_000), LATER)
            .answers(Answers::Bare(&["roleId", "roleName"]))
            .strictly(100),
        paged("/v1/users/{}/roles", PAGES, ("pageSize", 1_000), LATER)
            .answers(Answers::List(&["roles"], None, &["roleId", "roleName"]))
            .strictly(100),
        post("/v1/audit/search-audit-log", AUDIT, Some(("pageSize", 10_000)), "SDK, audit_log/client.py")
            .answers(Answers::List(&["events"], None, &["type$", "timestamp"])),
        post("/v1/audit/search-results-count", AUDIT, None, "SDK, audit_log/client.py")
            .answers(Answers::Record(&["totalResultCount"])),
        // "Parameters follow an identical behavior", and there is no paging. No schema tells the answer's form: it is taken
        // for that of the search.
        post("/v1/audit/search-results-export", AUDIT, None, OPENAPI).answers(Answers::List(
            &["events"],
            None,
            &["type$", "timestamp"],
        )),
        paged(
            "/v1/cases",
            &[
                "status",
                "assignee",
                "isAssigned",
                "name",
                "subject",
                "lastModifiedBy",
                "createdAt",
                "updatedAt",
                "pgNum",
                "pgSize",
                "srtKey",
                "srtDir",
            ],
            ("pgSize", OURS),
            OPENAPI,
        )
        .answers(Answers::List(&["cases"], TOTAL, &["number", "name", "status"]))
        .usually(2_147_483_647),
        get("/v1/cases/{}", &[], OPENAPI).answers(Answers::Record(&["number", "description", "findings"])),
        paged("/v1/cases/{}/fileevent", &["pgNum", "pgSize", "archiveId"], ("pgSize", 10_000), OPENAPI)
            .answers(Answers::List(&["events"], TOTAL, &["eventId", "eventTimestamp"]))
            .usually(10_000),
        // The OpenAPI's answer is any object. The SDK reads it as a file event.
        get("/v1/cases/{}/fileevent/{}", &[], "OpenAPI 2024-08-30; the answer: SDK, cases/client.py")
            .answers(Answers::Record(&["event", "file"])),
        post(
            "/v2/file-events",
            &["groupClause", "groups", "pgNum", "pgSize", "pgToken", "srtKey", "srtDir"],
            Some(("pgSize", 10_000)),
            "SDK, queries/file_events.py",
        )
        .answers(Answers::List(&["fileEvents"], TOTAL, &["event", "file"]))
        .strictly(100),
        post(
            "/v2/file-events/grouping",
            &["groupClause", "groups", "groupingTerm", "size"],
            Some(("size", 10_000)),
            "SDK, queries/file_events.py",
        )
        .answers(Answers::List(&["groups"], None, &["value", "docCount"])),
        get("/v2/file-events/saved-searches", &[], OPENAPI).answers(Answers::List(
            &["searches"],
            None,
            &["id", "name", "groups"],
        )),
        get("/v2/file-events/saved-searches/{}", &[], OPENAPI).answers(Answers::List(
            &["searches"],
            None,
            &["id", "name", "groups"],
        )),
        paged(
            "/v1/sessions",
            &[
                "actor_id",
                "on_or_after",
                "before",
                "has_alerts",
                "order_by",
                "sort_direction",
                "risk_indicators",
                "state",
                "severity",
                "rule_id",
                "watchlist_id",
                "content_inspection_status",
                "page_number",
                "page_size",
            ],
            ("page_size", 50),
            // Its schema allows 0 to 1,000, its text 50 at most; the SDK 1 to 50.
            "OpenAPI 2024-08-30; the size: SDK, sessions/client.py",
        )
        .answers(Answers::List(&["items"], TOTAL, &["sessionId", "actorId", "beginTime"]))
        .strictly(10),
        // Asked for only where a session's events can't be found, to see whether the session is gone.
        get("/v1/sessions/{}", &[], OPENAPI).answers(Answers::Record(&["sessionId", "actorId", "beginTime"])),
        // The OpenAPI's `queryResult` is any object, "the same as the file events API search".
        get("/v1/sessions/{}/events", &[], OPENAPI).answers(Answers::List(
            &["queryResult", "fileEvents"],
            TOTAL,
            &["event", "file"],
        )),
        paged(
            "/v1/agents",
            &[
                "userId",
                "agentType",
                "active",
                "agentHealthy",
                "anyOfAgentHealthIssueTypes",
                "srtKey",
                "srtDir",
                "page",
                "pageSize",
            ],
            ("pageSize", OURS),
            OPENAPI,
        )
        .answers(Answers::List(&["agents"], TOTAL, &["agentId", "userId", "active"]))
        .usually(500),
        paged(
            "/v1/devices",
            &["active", "blocked", "sortKey", "sortDirection", "page", "pageSize"],
            ("pageSize", 2_000),
            // The earlier edition has 500 by default, and no greatest page.
            LATER,
        )
        .answers(Answers::List(&["devices"], TOTAL, &["deviceId", "userId", "active"]))
        .strictly(100),
        paged(
            "/v1/actors/actor/search",
            &["nameStartsWith", "nameEndsWith", "active", "page", "pageSize"],
            ("pageSize", 500),
            "OpenAPI 2024-08-30; the size: SDK, actors/client.py",
        )
        .answers(Answers::List(&["actors"], None, &["actorId", "name", "active"]))
        .strictly(100),
        get("/v1/actors/actor/id/{}", &[], OPENAPI).answers(Answers::Record(&[
            "actorId",
            "name",
            "title",
            "department",
            "startDate",
            "endDate",
        ])),
        paged("/v2/watchlists", &["page", "page_size", "actor_id"], ("page_size", OURS), OPENAPI)
            .answers(Answers::List(&["watchlists"], TOTAL, &["watchlistId", "listType"])),
        paged("/v2/watchlists/{}/members", SNAKE, ("page_size", OURS), OPENAPI).answers(Answers::List(
            &["watchlistMembers"],
            TOTAL,
            &["actorId", "addedTime"],
        )),
        paged("/v2/watchlists/{}/included-actors", SNAKE, ("page_size", OURS), OPENAPI).answers(Answers::List(
            &["includedActors"],
            TOTAL,
            &["actorId", "addedTime"],
        )),
        paged("/v2/watchlists/{}/excluded-actors", SNAKE, ("page_size", OURS), OPENAPI).answers(Answers::List(
            &["excludedActors"],
            TOTAL,
            &["actorId", "addedTime"],
        )),
        paged("/v2/watchlists/{}/included-departments", SNAKE, ("page_size", OURS), OPENAPI).answers(Answers::List(
            &["includedDepartments"],
            TOTAL,
            &["name", "addedTime"],
        )),
        paged("/v2/watchlists/{}/included-directory-groups", SNAKE, ("page_size", OURS), OPENAPI)
            .answers(Answers::List(&["includedDirectoryGroups"], TOTAL, &["groupId", "addedTime"])),
        paged("/v1/departments", &["page", "page_size", "name"], ("page_size", OURS), OPENAPI).answers(Answers::List(
            &["departments"],
            TOTAL,
            &[],
        )),
        paged("/v1/directory-groups", &["page", "page_size", "name"], ("page_size", OURS), OPENAPI)
            .answers(Answers::List(&["directoryGroups"], TOTAL, &["groupId", "name"])),
        paged("/v2/alert-rules", &["PageNumber", "PageSize", "WatchlistId"], ("PageSize", OURS_OF_RULES), OPENAPI)
            .answers(Answers::Bare(&["id", "name", "isEnabled"]))
            .usually(10),
        get("/v2/alert-rules/{}/users", &[], OPENAPI).answers(Answers::List(
            &["users"],
            None,
            &["userIdFromAuthority"],
        )),
        paged(
            "/v2/trusted-activities",
            &["type", "page", "page_size", "sort_key", "sort_direction"],
            ("page_size", OURS),
            OPENAPI,
        )
        .answers(Answers::List(&["trustedActivities"], TOTAL, &["activityId", "type", "value"]))
        .usually(100),
        get("/v1/orgs", &["active"], OPENAPI).answers(Answers::List(&["orgs"], TOTAL, &["orgGuid", "orgName"])),
        get("/v1/customer", &[], OPENAPI).answers(Answers::Record(&["name", "tenantId"])),
        get("/v1/risk-indicator-categories", &[], "SDK, risk_indicator_categories/client.py").answers(Answers::List(
            &["categories"],
            None,
            &["id", "name"],
        )),
        paged(
            "/v1/legal-hold/matters",
            &["creatorUserId", "active", "name", "page", "pageSize"],
            ("pageSize", OURS),
            OPENAPI,
        )
        .answers(Answers::List(&["matters"], None, &["matterId", "name", "active"]))
        .usually(500),
        paged("/v1/legal-hold/matters/{}/custodians", PAGES, ("pageSize", OURS), OPENAPI)
            .answers(Answers::List(&["custodians"], None, &["userId", "username"]))
            .usually(500),
        // Not paged in the earlier edition.
        paged("/v1/legal-hold/policies", PAGES, ("pageSize", OURS), LATER)
            .answers(Answers::List(&["policies"], None, &["policyId", "name"]))
            .usually(100),
    ];
