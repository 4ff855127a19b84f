"""For each rule a record that fires it, and near misses that don't. The records have the stream's own form, with these
values at the named paths."""

from copy import deepcopy
from typing import Any

Record = dict[str, Any]
Paths = dict[str, Any]

EVENT = {
    "@timestamp": "2026-11-21T12:58:00.000Z",
    "event": {"id": "e", "inserted": "2026-11-21T13:00:00.000Z", "action": "file-created", "observer": "Endpoint",
              "shareType": [], "vector": "UPLOAD", "ingested": "2026-11-21T12:59:00.000Z"},
    "user": {"email": "somebody@example.com", "id": "1", "deviceUid": "2"},
    "file": {"name": "plan.docx", "directory": "C:/", "category": "Document", "sizeInBytes": 3641, "passwordProtected": None,
             "hash": {"md5": "792e95b64b9cf45ac8bc10d4d0f077c4", "sha256": None}, "url": None},
    "source": {"category": "Device", "name": "DESKTOP-1"},
    "destination": {"category": "Cloud Storage", "name": "Dropbox", "accountName": None,
                    "removableMedia": {"vendor": None, "serialNumber": None}},
    "process": {"executable": None, "owner": None},
    "risk": {"score": 5, "severity": "LOW", "indicators": [{"id": "Remote", "name": "Remote", "weight": 0}], "trusted": False},
    "git": {"eventId": None, "repositoryUri": None},
    "responseControls": {"preventativeControl": None, "userJustification": {"reason": None, "text": None}},
}  # fmt: skip
SHAPES: dict[str, Record] = {
    "file_events": EVENT,
    "sessions": {
        "sessionId": "s", "actorId": "1", "actorName": "somebody@example.com", "type": "STANDARD", "criticalEvents": 0,
        "highEvents": 1, "beginTime": 1711129878056, "scores": [{"score": 1, "severity": 1, "sourceTimestamp": 1711130405673}],
        "states": [{"state": "OPEN", "sourceTimestamp": 1711130127002, "userId": None}], "exfiltrationSummary": "",
        "contentInspectionResults": {"status": "UNPROCESSED", "eventResults": []},
    },
    "audit": {"type$": "audit_log::search_issued/1", "actorId": "1", "actorName": "admin@example.com", "actorAgent": "x",
              "actorIpAddress": "203.0.113.9", "timestamp": "2026-11-21T13:00:00.000Z", "actorType": "USER"},
    "users": {"userId": "1", "username": "somebody@example.com", "active": True, "blocked": False,
              "modificationDate": "2026-11-21T13:00:00.000Z"},
    "user_roles": {"_userId": "1", "roleId": "r", "roleName": "Desktop User", "permissionIds": ["a"]},
    "agents": {"agentId": "a", "userId": "1", "osHostname": "h", "active": True, "agentHealthIssueTypes": [],
               "modificationDate": "2026-11-21T13:00:00.000Z"},
    "environment_health": {"finding": "stale_agent", "agentId": "a", "userId": "1", "why": "not connected for 60 days"},
    "alert_rules": {"id": "r", "name": "Rule", "isEnabled": True, "modifiedBy": "admin@example.com"},
    "trusted_activities": {"activityId": "1", "type": "DOMAIN", "value": "example.com", "updatedByPrincipalName": "admin"},
    "watchlists": {"_list": "members", "_watchlistId": "w", "actorId": "1", "actorname": "somebody@example.com"},
    "legal_hold": {"_list": "custodians", "_matterId": "m", "userId": "1", "username": "x", "membershipActive": True},
    "cases": {"number": 1, "name": "Case", "status": "OPEN", "lastModifiedByUsername": "admin", "updatedAt": "2026-11-21T13:00:00Z"},
    "collector_health": {"stream": "audit", "state": "collecting", "previous": "authenticated", "at": "2026-11-21T13:00:00.000Z",
                         "run_id": "r"},
}  # fmt: skip

LEAVES = [{"id": "Remote", "name": "Remote", "weight": 0}, {"id": "d", "name": "Departing", "weight": 5}]
WATCHED = [{"id": "f", "name": "Flight risk", "weight": 3}]
GONE = {"_deleted": True, "_deletedAt": "2026-11-21T13:00:00.000Z"}
TOMBSTONE = ["name", "isEnabled", "modifiedBy", "type", "value", "updatedByPrincipalName", "actorname", "username",
             "membershipActive", "roleName", "permissionIds"]  # fmt: skip
FAILED = {"type": "ThirdPartyGenericError", "message": "POST /v1/audit/search-audit-log: the API answers 503"}
EXPIRY = {"type": "ThirdPartyConfigError", "message": "refused; the API keeps the oldest of it for 5 more hours only"}

# For each rule the records that fire it, and near misses.
SAMPLES: dict[str, tuple[list[Paths], list[Paths]]] = {
    "untrusted_event_of_high_risk": (
        [{"risk.severity": "HIGH"}, {"risk.severity": "CRITICAL"}],
        [{"risk.severity": "CRITICAL", "risk.trusted": True}, {"risk.severity": "MODERATE"}, {"risk.severity": None}],
    ),
    "leaver_with_removable_media": (
        [{"event.action": "removable-media-created", "risk.indicators": LEAVES}],
        [{"event.action": "removable-media-created"}, {"risk.indicators": LEAVES}, {"event.action": "removable-media-created", "risk.indicators": []}],
    ),
    "watchlist_member_exfiltrates": (
        [{"risk.indicators": WATCHED, "risk.severity": "MODERATE"}, {"risk.indicators": LEAVES, "risk.severity": "CRITICAL"}],
        [{"risk.indicators": WATCHED}, {"risk.severity": "HIGH"}, {"risk.indicators": WATCHED, "risk.severity": "HIGH", "risk.trusted": True}],
    ),
    "push_to_untrusted_repository": (
        [{"git.repositoryUri": "https://github.com/x/y", "destination.category": "Source Code Repository"}],
        [{"destination.category": "Source Code Repository"},
         {"git.repositoryUri": "https://github.com/x/y", "destination.category": "Source Code Repository", "risk.trusted": True}],
    ),
    "protected_archive_to_cloud": (
        [{"file.passwordProtected": True, "file.category": "Archive"}],
        [{"file.category": "Archive"}, {"file.passwordProtected": False}, {"file.passwordProtected": True, "destination.category": "Device"}],
    ),
    "source_code_to_ai_tool": (
        [{"file.category": "SourceCode", "destination.name": "ChatGPT"},
         {"file.category": "Script", "destination.name": "Claude (Anthropic)", "risk.trusted": None}],
        [{"file.category": "SourceCode"}, {"destination.name": "ChatGPT"},
         {"file.category": "SourceCode", "destination.name": "ChatGPT", "risk.trusted": True}],
    ),
    "file_deleted_by_leaver": (
        [{"event.action": "file-deleted", "risk.indicators": LEAVES}],
        [{"event.action": "file-deleted"}, {"risk.indicators": LEAVES}],
    ),
    "public_link": (
        [{"event.shareType": ["Other", "Anyone with the link"]}, {"event.shareType": ["PublicLinkShare"], "risk.trusted": None}],
        [{"event.shareType": ["Shared with specific people"]}, {"event.shareType": ["AnyoneWithLink"], "risk.trusted": True}],
    ),
    "renamed_to_hide": (
        [{"risk.indicators": [{"id": "m", "name": "File mismatch", "weight": 9}]}],
        [{"risk.indicators": [{"id": "m", "name": "File mismatch", "weight": 9}], "risk.trusted": True}, {}],
    ),
    "block_overridden": (
        [{"responseControls.userJustification.reason": "Other"}],
        [{"responseControls.preventativeControl": "BLOCKED"}, {}],
    ),
    "large_file_to_untrusted_place": (
        [{"file.sizeInBytes": 1073741824}],
        [{"file.sizeInBytes": 1073741823}, {"file.sizeInBytes": 9e9, "risk.severity": "NO_RISK_INDICATED"}, {"file.sizeInBytes": None}],
    ),
    "printed_with_high_risk": (
        [{"event.action": "file-printed", "risk.severity": "HIGH"}],
        [{"event.action": "file-printed"}, {"risk.severity": "HIGH"}],
    ),
    "git_clone_leaves_with_leaver": (
        [{"file.category": "SourceCode", "risk.indicators": LEAVES}],
        [{"risk.indicators": LEAVES}, {"file.category": "SourceCode"}, {"file.category": "SourceCode", "risk.indicators": LEAVES, "risk.trusted": True}],
    ),
    "session_critical": (
        [{"scores": [{"score": 1, "severity": 1}, {"score": 13, "severity": 4}]}],
        [{"scores": [{"score": 4, "severity": 3}]}, {"scores": []}, {"scores": None}],
    ),
    "session_account_take_over": ([{"type": "ACCOUNT_TAKE_OVER"}], [{}, {"type": None}]),
    "session_new_data": (
        [{"states": [{"state": "CLOSED"}, {"state": "OPEN_NEW_DATA"}]}],
        [{"states": [{"state": "CLOSED"}]}, {"states": []}],
    ),
    "session_personal_data": (
        [{"contentInspectionResults": {"status": "FOUND"}}, {"contentInspectionResults": {"status": "PII_FOUND"}}],
        [{"contentInspectionResults": {"status": "NOT_FOUND"}}, {"contentInspectionResults": {"status": "PII_NOT_FOUND"}}, {"contentInspectionResults": None}],
    ),
    "audit_api_client_created": ([{"type$": "audit_log::api_client_created/1"}], [{"type$": "audit_log::user_created/1"}]),
    "audit_api_client_from_new_address": (
        [{"actorType": "API_CLIENT"}, {"actorType": "API_CLIENT", "actorIpAddress": "10.192.0.2"}],
        [{}, {"actorType": "API_CLIENT", "actorIpAddress": "192.0.2.7, 203.0.113.9"}, {"actorType": "API_CLIENT", "actorIpAddress": None}],
    ),
    "audit_federation_changed": (
        [{"type$": "audit_log::federation_metadata_updated/1"}],
        [{"type$": "audit_log::federation_metadata_read/1"}],
    ),
    "audit_support_user": ([{"actorType": "SUPPORT_USER"}], [{}, {"actorType": None}]),
    "audit_role_raised": (
        [{"type$": "audit_log::user_role_added/1"}, {"type$": "audit_log::role_assigned/2"}],
        [{"type$": "audit_log::user_role_removed/1"}, {"type$": "audit_log::user_added_to_watchlist/1"}],
    ),
    "role_raised": ([{"roleName": "Customer Cloud Admin"}], [{}, {"roleName": "Customer Cloud Admin", **GONE}, GONE]),
    "alert_rule_disabled": ([{"isEnabled": False}], [{}, {"isEnabled": None}, GONE]),
    "alert_rule_deleted": ([GONE], [{}, {"id": None, "_list": "users", "_ruleId": "r", "userIdFromAuthority": "1", **GONE}]),
    "trusted_activity_added": ([{}], [GONE, {"activityId": None}]),
    "watchlist_member_removed": ([GONE], [{}, {"_list": "included_actors", **GONE}]),
    "user_deactivated": ([{"active": False}], [{}, {"active": None, **GONE}]),
    "must_not_be_deactivated": ([{"finding": "must_not_be_deactivated", "matterId": "m"}], [{}, {"finding": "must-not-be-deactivated"}]),
    "agent_deactivated": ([{"active": False}], [{}, {"active": None}]),
    "agent_silent": ([{"finding": "silent_agent"}, {"finding": "unhealthy_agent", "issue": "NOT_CONNECTING"}], [{}, {"finding": "silent_observer"}]),
    "observer_silent": ([{"finding": "silent_observer", "observer": "GoogleDrive"}], [{"finding": "silent_agent"}]),
    "legal_hold_custodian_released": ([{"membershipActive": False}], [{}, {"membershipActive": False, "_list": None, "active": False}, GONE]),
    "legal_hold_custodian_removed": ([GONE], [{}, {"_list": None, **GONE}]),
    "case_archived": ([{"status": "ARCHIVED"}], [{"status": "CLOSED"}, {}]),
    "collector_stopped": (
        [{"state": "stopped", "error": {"type": "ThirdPartyConfigError", "message": "refuses the credentials"}}],
        [{"state": "stopped"}, {"state": "error", "error": FAILED}],
    ),
    "collector_gap": ([{"stuck": {"count": 1, "since": "2026-11-21T13:00:00.000Z"}}], [{"stuck": {"count": 0}}, {}]),
    "collector_expiry_near": ([{"state": "error", "error": EXPIRY}], [{"state": "error", "error": FAILED}, {}]),
    "collector_error": ([{"state": "error", "error": FAILED}], [{}, {"state": "stopped", "error": FAILED}]),
}  # fmt: skip


def record(stream: str, paths: Paths) -> Record:
    made = deepcopy(SHAPES[stream])
    for path, value in paths.items():
        *parents, last = [path] if path[0] == "@" else path.split(".")
        held = made
        for parent in parents:
            held = held[parent]
        held[last] = value
    if paths.get("_deleted") and "roleName" not in paths:
        for name in TOMBSTONE:
            made.pop(name, None)
    return made
