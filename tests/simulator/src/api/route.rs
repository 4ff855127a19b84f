//! Finds the endpoint of a request.

use percent_encoding::percent_decode_str;

use super::{cases, lists::LISTS, rules, sessions, writes};
use crate::{fault::Endpoint, http::Request};

/// The paths that aren't lists. `{}` is an id.
const OTHERS: [(&str, &str, Endpoint); 14] = [
    ("POST", "/v1/oauth", Endpoint::SignIn),
    ("GET", "/v1/customer", Endpoint::Customer),
    ("GET", "/v1/users", Endpoint::Users),
    ("POST", "/v1/audit/search-audit-log", Endpoint::AuditSearch),
    ("POST", "/v1/audit/search-results-count", Endpoint::AuditCount),
    ("POST", "/v1/audit/search-results-export", Endpoint::AuditExport),
    ("GET", "/v1/cases", Endpoint::CaseList),
    ("GET", cases::EVENT_DETAIL, Endpoint::CaseFileEventDetail),
    ("POST", "/v2/file-events", Endpoint::FileEvents),
    ("POST", "/v2/file-events/grouping", Endpoint::FileEventGrouping),
    ("GET", "/v1/sessions", Endpoint::Sessions),
    ("GET", sessions::DETAIL, Endpoint::SessionDetail),
    ("GET", sessions::EVENTS, Endpoint::SessionEvents),
    ("GET", rules::USERS, Endpoint::RuleUsers),
];

pub(super) fn endpoint_of(request: &Request, guide_endpoints: bool) -> Endpoint {
    let (method, path) = (request.method.as_str(), request.path.as_str());
    match (method, path) {
        ("GET", path) if cases::number_in(path).is_some() => return Endpoint::CaseDetail,
        ("POST", "/v1/oauth/token") if guide_endpoints => return Endpoint::SignIn,
        ("GET", "/v1/audit/log") if guide_endpoints => return Endpoint::GuideAudit,
        ("POST", "/v2/file-events/search") if guide_endpoints => return Endpoint::GuideFileEvents,
        _ => {}
    }
    let lists = LISTS.iter().map(|list| ("GET", list.path, list.endpoint));
    let found = OTHERS
        .into_iter()
        .chain(lists)
        .chain(writes::ROUTES.iter().map(|(method, path, endpoint, _)| (*method, *path, *endpoint)))
        .find(|(its_method, its_path, _)| *its_method == method && placeholders(its_path, path).is_some());
    found.map_or(Endpoint::Unknown, |(_, _, endpoint)| endpoint)
}

/// Returns the decoded parts of the path where the pattern has `{}`. None if the path doesn't match.
pub(super) fn placeholders(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    if pattern.clone().count() != path.clone().count() {
        return None;
    }
    let mut found = Vec::new();
    for (wanted, part) in pattern.zip(path) {
        match wanted {
            "{}" if !part.is_empty() => found.push(percent_decode_str(part).decode_utf8_lossy().into_owned()),
            _ if wanted == part => {}
            _ => return None,
        }
    }
    Some(found)
}
