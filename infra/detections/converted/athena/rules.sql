-- Agent deactivated
-- An agent was deactivated. That is everyday work on its own. A correlation and a saved query find agents of people in legal hold or an open case.
-- level low; attack.defense-evasion, attack.t1562.001; 40158741-d365-5e29-b93c-1a77b1f391ba
-- False positives: Replaced devices
SELECT
  agent_id,
  user_id,
  os_hostname,
  modification_date,
  dt,
  hour
FROM agents_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d') AND active = FALSE;

-- Agent that reports nothing, or is ill
-- The agent connects but sends no file event, or it reports a health issue.
-- level medium; attack.defense-evasion, attack.t1562.001; 5afbd9f4-4e46-501e-a6a6-e47fde7a3b32
-- False positives: Devices that nobody uses
SELECT
  finding,
  agent_id,
  user_id,
  os_hostname,
  issue,
  why,
  dt,
  hour
FROM environment_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    LOWER(finding) = 'silent_agent' OR LOWER(finding) = 'unhealthy_agent'
  );

-- Alert rule deleted
-- An alert rule was deleted. The rule looks at the tombstone of an alert rule, not of a person on its list.
-- level high; attack.defense-evasion, attack.t1562.001; 394896e2-5079-5c0d-9f08-3887cd9c8e57
-- False positives: Cleaning up
SELECT
  id,
  deleted_at,
  dt,
  hour
FROM alert_rules_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    deleted = TRUE AND NOT id IS NULL
  );

-- Alert rule that is disabled
-- The newest version of the alert rule is not enabled. A version is stored when the rule changes.
-- level high; attack.defense-evasion, attack.t1562.001; f82469ff-3de6-596f-90d2-e0f30f64113a
-- False positives: Rules that were never switched on
SELECT
  id,
  name,
  modified_by,
  modified_at,
  is_enabled,
  dt,
  hour
FROM alert_rules_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND is_enabled = FALSE;

-- API client created
-- A new API client can read or change everything that its permissions allow. The names of the audit log's types are not published as a list: look at those of your tenant with the third saved query.
-- level high; attack.persistence, attack.t1136.003; 9982c595-9793-5f8b-a492-808fcd957692
-- False positives: Planned integrations
SELECT
  event_type,
  actor_name,
  actor_type,
  actor_ip_address,
  actor_agent,
  timestamp,
  dt,
  hour
FROM audit_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    STRPOS(LOWER(event_type), 'api_client_created') > 0
    OR STRPOS(LOWER(event_type), 'api_client_secret') > 0
  );

-- API client from an address that is not among the known
-- Replace the documentation's address ranges in this rule by the addresses of your integrations, including this collector's.
-- level high; attack.initial-access, attack.t1078.004; 0f82ff52-8066-559e-af68-10b17f6f66c3
-- False positives: Integrations without a fixed address
SELECT
  event_type,
  actor_name,
  actor_type,
  actor_ip_address,
  actor_agent,
  timestamp,
  dt,
  hour
FROM audit_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      LOWER(actor_type) = 'api_client' AND NOT actor_ip_address IS NULL
    )
    AND (
      NOT COALESCE(
        STARTS_WITH(LOWER(actor_ip_address), '192.0.2.')
        OR STARTS_WITH(LOWER(actor_ip_address), '198.51.100.'),
        FALSE
      )
    )
  );

-- Sign-on by federation changed
-- The metadata of the federation changed. A person who changes it decides who can sign in, and as whom.
-- level high; attack.persistence, attack.privilege-escalation, attack.t1484.002; ae4924d9-6eff-5e2b-ba1e-5b79734a1969
-- False positives: Renewed certificates
SELECT
  event_type,
  actor_name,
  actor_type,
  actor_ip_address,
  actor_agent,
  timestamp,
  dt,
  hour
FROM audit_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND STARTS_WITH(LOWER(event_type), 'audit_log::federation_metadata_updated');

-- Role given to a user
-- The audit event's type says that a role was added, assigned or granted. The names of the audit log's types are not published as a list: look at those of your tenant with the third saved query.
-- level medium; attack.privilege-escalation, attack.persistence, attack.t1098.003; 5dfb52df-7242-557e-b0ff-593db0761be4
-- False positives: New colleagues in security
SELECT
  event_type,
  actor_name,
  actor_type,
  actor_ip_address,
  actor_agent,
  timestamp,
  dt,
  hour
FROM audit_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    STRPOS(LOWER(event_type), 'role') > 0
    AND (
      STRPOS(LOWER(event_type), 'added') > 0
      OR STRPOS(LOWER(event_type), 'assigned') > 0
      OR STRPOS(LOWER(event_type), 'granted') > 0
    )
  );

-- The vendor's support signed in
-- A support user of the vendor acted in your tenant. That needs your permission.
-- level low; attack.initial-access, attack.t1199; 73c13386-8280-5f87-ab9c-b411e48b6db5
-- False positives: An open support ticket
SELECT
  event_type,
  actor_name,
  actor_type,
  actor_ip_address,
  actor_agent,
  timestamp,
  dt,
  hour
FROM audit_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND LOWER(actor_type) = 'support_user';

-- A blocked transfer was justified and let through
-- A transfer was about to be blocked. The person gave a reason, and it went on.
-- level medium; attack.exfiltration, attack.t1567; d6752475-2fa1-5de2-a9c5-0420b081cf9b
-- False positives: Justified transfers: read the reason
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  response_controls_user_justification_reason,
  response_controls_user_justification_text,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND NOT response_controls_user_justification_reason IS NULL;

-- Case archived, which deletes its evidence
-- Nobody can undo the archiving, and it deletes the case's file events. The collector stores these events before.
-- level medium; attack.impact, attack.t1485; 3eef1c39-2df5-576e-9b06-aa57a106dd81
-- False positives: Planned retention
SELECT
  number,
  name,
  last_modified_by_username,
  updated_at,
  dt,
  hour
FROM cases_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND status = 'ARCHIVED';

-- The collector fails to read a stream
-- A stream failed. The next run tries again. Alert if no collecting of the same stream follows within an hour.
-- level medium; attack.defense-evasion, attack.t1562.001; 21d217cc-6280-5f40-9314-af2e2668bdb7
-- False positives: A short outage of the API
SELECT
  stream,
  state,
  error_type,
  error_message,
  at,
  dt,
  hour
FROM collector_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND state = 'error';

-- What is not collected yet is about to expire
-- The API deletes records that are not collected yet within 72 hours. After that they are lost.
-- level critical; attack.defense-evasion, attack.t1562.001; 935062c1-eeda-59d4-9f1c-d013918559bd
-- False positives: None
SELECT
  stream,
  state,
  error_type,
  error_message,
  at,
  dt,
  hour
FROM collector_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND STRPOS(LOWER(error_message), 'the api keeps the oldest of it for') > 0;

-- The collector can't read something
-- A span or a record can't be read at the moment. It stays a gap until it can be read.
-- level high; attack.defense-evasion, attack.t1562.001; 2befa1da-73a9-5e1f-92b0-56ecf4aa86cb
-- False positives: An outage of the vendor: look how long it lasts
SELECT
  stream,
  state,
  error_type,
  error_message,
  at,
  stuck_count,
  stuck_since,
  dt,
  hour
FROM collector_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND stuck_count >= 1;

-- The collector stopped
-- The API refuses the credentials, or the secret is malformed. Nothing is collected any more. A stream that was only taken out of STREAMS has no error.
-- level critical; attack.defense-evasion, attack.t1562.001; 7cff6014-d8b5-5848-8b70-b9f5af947a15
-- False positives: A secret that is being replaced
SELECT
  stream,
  state,
  error_type,
  error_message,
  at,
  dt,
  hour
FROM collector_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    state = 'stopped' AND NOT error_type IS NULL
  );

-- A leaver deletes a file
-- A leaver deleted a file. That is everyday work on its own. The correlation mass_deletion_by_leaver counts these events.
-- level low; attack.impact, attack.t1485; 1b9d0f70-17c6-599f-bc9b-7ee2a56279e5
-- False positives: Cleaning up
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      event_action = 'file-deleted'
      OR event_action = 'removable-media-deleted'
      OR event_action = 'sync-app-deleted'
    )
    AND STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'departing') > 0
  );

-- A leaver moves source code to an untrusted place
-- Source code went to an untrusted destination, and the event has the indicator of a departing employee.
-- level high; attack.exfiltration, attack.t1567.001; 70565cd0-9a7a-554d-be9b-a5e0f689584b
-- False positives: A handover
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    file_category = 'SourceCode'
    AND risk_trusted = FALSE
    AND STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'departing') > 0
  );

-- Somebody in legal hold or an open case was deactivated
-- Deactivation ends the preservation that the legal hold is for. The saved query held_deactivated finds these people too.
-- level high; attack.impact, attack.t1531; b80ecb31-79a7-5899-b3e3-164e6947c7cd
-- False positives: The hold ended meanwhile
SELECT
  user_id
FROM (
  SELECT
    'incydr_user_deactivated' AS rule,
    user_id
  FROM (
    SELECT
      user_id
    FROM users_all
    WHERE
      dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '7' DAY, '%Y-%m-%d') AND active = FALSE
  ) AS found0
  UNION ALL
  SELECT
    'incydr_must_not_be_deactivated' AS rule,
    user_id
  FROM (
    SELECT
      user_id
    FROM environment_health_all
    WHERE
      dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '7' DAY, '%Y-%m-%d')
      AND LOWER(finding) = 'must_not_be_deactivated'
  ) AS found1
) AS found
GROUP BY
  1
HAVING
  COUNT(DISTINCT rule) >= 2;

-- An agent of somebody in legal hold or an open case was deactivated
-- The deactivated agent sends no more events from the device.
-- level high; attack.defense-evasion, attack.t1562.001; bfc03b90-101d-55ff-a873-92bfe2e7ac7e
-- False positives: A replaced device
SELECT
  user_id
FROM (
  SELECT
    'incydr_agent_deactivated' AS rule,
    user_id
  FROM (
    SELECT
      user_id
    FROM agents_all
    WHERE
      dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '7' DAY, '%Y-%m-%d') AND active = FALSE
  ) AS found0
  UNION ALL
  SELECT
    'incydr_must_not_be_deactivated' AS rule,
    user_id
  FROM (
    SELECT
      user_id
    FROM environment_health_all
    WHERE
      dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '7' DAY, '%Y-%m-%d')
      AND LOWER(finding) = 'must_not_be_deactivated'
  ) AS found1
) AS found
GROUP BY
  1
HAVING
  COUNT(DISTINCT rule) >= 2;

-- An agent of somebody in legal hold or an open case fell silent
-- The agent sends no file event, or it reports a health issue.
-- level high; attack.defense-evasion, attack.t1562.001; 0467cef4-882c-5d60-864e-9e03676cabda
-- False positives: Holidays
SELECT
  user_id
FROM (
  SELECT
    'incydr_agent_silent' AS rule,
    user_id
  FROM (
    SELECT
      user_id
    FROM environment_health_all
    WHERE
      dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '7' DAY, '%Y-%m-%d')
      AND (
        LOWER(finding) = 'silent_agent' OR LOWER(finding) = 'unhealthy_agent'
      )
  ) AS found0
  UNION ALL
  SELECT
    'incydr_must_not_be_deactivated' AS rule,
    user_id
  FROM (
    SELECT
      user_id
    FROM environment_health_all
    WHERE
      dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '7' DAY, '%Y-%m-%d')
      AND LOWER(finding) = 'must_not_be_deactivated'
  ) AS found1
) AS found
GROUP BY
  1
HAVING
  COUNT(DISTINCT rule) >= 2;

-- Very large file to an untrusted place
-- One file of more than 1 GB, on an event with a risk.
-- level medium; attack.exfiltration, attack.t1030; b94a1dd2-789d-51a1-bbaf-af0ccdd7797e
-- False positives: Media departments
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  file_size_in_bytes,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    file_size_in_bytes >= 1073741824
    AND risk_trusted = FALSE
    AND (
      risk_severity = 'LOW'
      OR risk_severity = 'MODERATE'
      OR risk_severity = 'HIGH'
      OR risk_severity = 'CRITICAL'
    )
  );

-- A leaver copies files to removable media
-- Incydr puts an indicator on events of people on the watchlist for departing employees.
-- level high; attack.exfiltration, attack.t1052.001; dfbbfdd3-d229-5199-937d-0da707e25813
-- False positives: An agreed handover of work on a medium
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  destination_removable_media_vendor,
  destination_removable_media_serial_number,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      event_action = 'removable-media-created'
      OR event_action = 'removable-media-modified'
    )
    AND STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'departing') > 0
  );

-- Custodian released from legal hold
-- The custodian's membership in the matter is no longer active.
-- level high; attack.impact, attack.t1485; 5ac0568f-8f65-50f0-9cd7-2295cdaf1587
-- False positives: The matter has ended
SELECT
  of_matter_id,
  user_id,
  username,
  dt,
  hour
FROM legal_hold_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    list = 'custodians' AND membership_active = FALSE
  );

-- Custodian gone from legal hold
-- The custodian is no longer on the matter's list. The rule looks at the tombstone.
-- level high; attack.impact, attack.t1485; d2023486-9812-51b9-ac6d-7e27b2371f84
-- False positives: The matter has ended
SELECT
  of_matter_id,
  user_id,
  deleted_at,
  dt,
  hour
FROM legal_hold_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    list = 'custodians' AND deleted = TRUE
  );

-- Mass deletion by a leaver
-- A leaver deleted 50 files or more within an hour.
-- level high; attack.impact, attack.t1485; b52bb205-4c8d-5ffe-930b-74dd3dcb8ecb
-- False positives: Unlinked synchronised folders
SELECT
  user_email,
  DATE_TRUNC('HOUR', event_inserted) AS window_begins,
  COUNT(*) AS events
FROM (
  SELECT
    user_email,
    event_inserted
  FROM file_events_all
  WHERE
    dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
    AND (
      (
        event_action = 'file-deleted'
        OR event_action = 'removable-media-deleted'
        OR event_action = 'sync-app-deleted'
      )
      AND STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'departing') > 0
    )
) AS found
GROUP BY
  1,
  2
HAVING
  COUNT(*) >= 50;

-- Somebody in legal hold or an open case, and an agent of theirs
-- The finding must_not_be_deactivated of the stream environment_health. The correlations compare it with users and agents that were deactivated.
-- level informational; attack.impact, attack.t1531; a15765ab-30e5-5363-b77e-a837243f837c
-- False positives: Every legal hold
SELECT
  user_id,
  agent_id,
  matter_id,
  case_number,
  why,
  dt,
  hour
FROM environment_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND LOWER(finding) = 'must_not_be_deactivated';

-- Data connection fell silent
-- An observer sent events before and sends none now. The API tells no state of a data connection; this is the nearest sign of one.
-- level high; attack.defense-evasion, attack.t1562.001; 435ce557-a314-58d4-9d53-ccf620267110
-- False positives: A connection that was removed
SELECT
  observer,
  days,
  records,
  why,
  dt,
  hour
FROM environment_health_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND LOWER(finding) = 'silent_observer';

-- File of high risk printed
-- A file of high risk was printed. Nothing records where the paper goes.
-- level medium; attack.exfiltration, attack.t1052; 236bfe11-10e8-5f29-a803-70336388ec43
-- False positives: Payroll, legal
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  destination_printer_name,
  destination_print_job_name,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    event_action = 'file-printed'
    AND (
      risk_severity = 'HIGH' OR risk_severity = 'CRITICAL'
    )
  );

-- Password-protected archive to an untrusted cloud storage
-- No tool on the way can inspect a password-protected archive.
-- level high; attack.exfiltration, attack.t1567.002, attack.t1560; 5a51f0d3-5288-548e-a140-beac44ef35dd
-- False positives: Customers who ask for such archives
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  destination_account_name,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    file_password_protected = TRUE
    AND destination_category = 'Cloud Storage'
    AND risk_trusted = FALSE
  );

-- File shared with anyone who has the link
-- A file can be read by anyone who has its link. The rule matches both spellings that the API uses.
-- level medium; attack.exfiltration, attack.t1567.002; 6362c653-52fb-5c54-b916-935a8786840c
-- False positives: Marketing, and other files that are meant to be public
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  event_share_type,
  file_url,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      STRPOS(LOWER(ARRAY_JOIN(event_share_type, ', ')), 'anyone with the link') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(event_share_type, ', ')), 'anyonewithlink') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(event_share_type, ', ')), 'publiclinkshare') > 0
    )
    AND (
      NOT COALESCE(risk_trusted = TRUE, FALSE)
    )
  );

-- Push to an untrusted Git repository
-- The event names a repository that no trusted activity covers.
-- level high; attack.exfiltration, attack.t1567.001; 8d413246-e23a-5b82-b809-2b54f72dc1f8
-- False positives: Contributions to public projects
SELECT
  user_email,
  git_repository_uri,
  git_repository_user,
  git_last_commit_hash,
  file_name,
  event_id,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    NOT git_repository_uri IS NULL
    AND risk_trusted = FALSE
    AND destination_category = 'Source Code Repository'
  );

-- File whose content is not what its name says leaves
-- The content of the file does not match its name, by Incydr's own indicator, and the event is not trusted.
-- level high; attack.exfiltration, attack.defense-evasion, attack.t1036.008; 59e4e0f8-3f94-5ec8-9b9b-475020c16c91
-- False positives: Formats that Incydr does not know
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  file_mime_type_by_bytes,
  file_mime_type_by_extension,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'mismatch') > 0
    AND risk_trusted = FALSE
  );

-- User has a role that administers
-- A record of user_roles has an administrating role and is new or changed. The rule lists the names of Incydr's own roles.
-- level high; attack.privilege-escalation, attack.persistence, attack.t1098.003; cf92a1b0-eb9a-5d83-9325-ebe2de6fd93a
-- False positives: New colleagues in security
SELECT
  user_id,
  role_name,
  role_id,
  dt,
  hour
FROM user_roles_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      STRPOS(LOWER(role_name), 'admin') > 0
      OR STRPOS(LOWER(role_name), 'cloud admin') > 0
      OR STRPOS(LOWER(role_name), 'insider risk respond') > 0
      OR STRPOS(LOWER(role_name), 'security center user') > 0
    )
    AND (
      NOT COALESCE(deleted = TRUE, FALSE)
    )
  );

-- Session of an account that may have been taken over
-- The session has the type ACCOUNT_TAKE_OVER.
-- level critical; attack.initial-access, attack.t1078; 0d3e337c-bc5a-5a17-a242-92ddaccb09eb
-- False positives: Travel, new devices
SELECT
  session_id,
  actor_name,
  type,
  critical_events,
  high_events,
  exfiltration_summary,
  dt,
  hour
FROM sessions_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND LOWER(type) = 'account_take_over';

-- Session of severity 4
-- At least one score of the session was critical. Each change stores the session again, so alert once for each sessionId.
-- level critical; attack.exfiltration, attack.t1567; 970ca1f4-547f-5c50-afaf-8dd6c878e9c4
-- False positives: Scores that fell again: look at the last one
SELECT
  session_id,
  actor_name,
  type,
  critical_events,
  high_events,
  exfiltration_summary,
  dt,
  hour
FROM sessions_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND highest_severity = 4;

-- Session with new data after somebody had looked at it
-- Incydr sets this state if activity goes on after somebody closed the session or took it up.
-- level medium; attack.exfiltration; 678f8b77-c114-5e87-acb9-1aa109d6f625
-- False positives: Long work on one task
SELECT
  session_id,
  actor_name,
  type,
  critical_events,
  high_events,
  exfiltration_summary,
  state,
  dt,
  hour
FROM sessions_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND LOWER(state) = 'open_new_data';

-- Personal data found in the files of a session
-- Content inspection found personal data. The rule matches both spellings of its result.
-- level high; attack.collection, attack.t1213; d58bbe94-2ec9-5c87-8f02-6e689f64118d
-- False positives: Test data
SELECT
  session_id,
  actor_name,
  type,
  critical_events,
  high_events,
  exfiltration_summary,
  content_inspection_results_status,
  dt,
  hour
FROM sessions_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    content_inspection_results_status = 'FOUND'
    OR LOWER(content_inspection_results_status) = 'pii_found'
  );

-- Source code to an AI tool
-- The rule goes by the destination's name. Add the tools that your people use.
-- level high; attack.exfiltration, attack.t1567; 40b60c9d-6d80-510c-96d2-3347be2e6449
-- False positives: Licensed tools that Incydr does not trust yet
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      (
        file_category = 'SourceCode' OR file_category = 'Script'
      )
      AND (
        STRPOS(LOWER(destination_name), 'chatgpt') > 0
        OR STRPOS(LOWER(destination_name), 'openai') > 0
        OR STRPOS(LOWER(destination_name), 'claude') > 0
        OR STRPOS(LOWER(destination_name), 'gemini') > 0
        OR STRPOS(LOWER(destination_name), 'copilot') > 0
        OR STRPOS(LOWER(destination_name), 'deepseek') > 0
        OR STRPOS(LOWER(destination_name), 'perplexity') > 0
        OR STRPOS(LOWER(destination_name), 'mistral') > 0
        OR STRPOS(LOWER(destination_name), 'hugging face') > 0
        OR STRPOS(LOWER(destination_name), 'poe') > 0
      )
    )
    AND (
      NOT COALESCE(risk_trusted = TRUE, FALSE)
    )
  );

-- Trusted activity added or changed
-- Incydr rates a trusted activity as no risk, so this lowers detection.
-- level medium; attack.defense-evasion, attack.t1562.001; d026f8fb-146c-5ebd-969e-9c364c7586e2
-- False positives: Changes by the people in charge
SELECT
  activity_id,
  type,
  value,
  updated_by_principal_name,
  update_time,
  dt,
  hour
FROM trusted_activities_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    NOT activity_id IS NULL AND (
      NOT COALESCE(deleted = TRUE, FALSE)
    )
  );

-- File event of high or critical risk to an untrusted place
-- Incydr rates the event as high or critical, and nothing about it is trusted.
-- level high; attack.exfiltration, attack.t1567; e0218223-526a-5b2e-9de5-fb46f01cb107
-- False positives: Work that no trusted activity covers yet
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    (
      risk_severity = 'HIGH' OR risk_severity = 'CRITICAL'
    )
    AND risk_trusted = FALSE
  );

-- User deactivated
-- A user was deactivated. That is everyday work on its own. Another rule and a saved query find people in legal hold.
-- level low; attack.impact, attack.t1531; 2e55161b-e790-5341-a73f-a6c669264e6a
-- False positives: People who leave
SELECT
  user_id,
  username,
  modification_date,
  dt,
  hour
FROM users_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d') AND active = FALSE;

-- A member of a watchlist moves files to an untrusted place
-- An untrusted event with a risk has an indicator that comes from a watchlist.
-- level high; attack.exfiltration, attack.t1567; 4bb81385-2e53-5f16-b331-531d9b79c0fe
-- False positives: A large watchlist
SELECT
  user_email,
  file_name,
  file_category,
  destination_category,
  destination_name,
  event_action,
  risk_severity,
  event_id,
  risk_indicators,
  dt,
  hour
FROM file_events_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    risk_trusted = FALSE
    AND (
      risk_severity = 'MODERATE' OR risk_severity = 'HIGH' OR risk_severity = 'CRITICAL'
    )
    AND (
      STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'departing') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'flight risk') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'high impact') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'contract') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'elevated access') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'performance concerns') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'poor security practices') > 0
      OR STRPOS(LOWER(ARRAY_JOIN(risk_indicators, ', ')), 'suspicious system activity') > 0
    )
  );

-- Person taken off a watchlist
-- The person is no longer on the watchlist's list of members. The rule looks at the tombstone.
-- level medium; attack.defense-evasion, attack.t1562.001; b3bf8520-1efc-5d60-9bb9-877a9f01b2ab
-- False positives: A department or group that feeds the list changed
SELECT
  of_watchlist_id,
  actor_id,
  deleted_at,
  dt,
  hour
FROM watchlists_all
WHERE
  dt >= DATE_FORMAT(CURRENT_DATE - INTERVAL '1' DAY, '%Y-%m-%d')
  AND (
    list = 'members' AND deleted = TRUE
  );
