-- title: Legal hold: deactivated people and agents under a hold or an open case
-- says: Custodians of legal hold matters and subjects of open cases. Silent means an active agent without a connection for 30 days
-- panel: table
SELECT held.why, users.user_id, users.username, users.active AS user_is_active,
       agents.agent_id, agents.active AS agent_is_active, agents.last_connected
FROM (
  SELECT user_id, concat('legal hold ', of_matter_id) AS why
  FROM legal_hold_now
  WHERE list = 'custodians' AND membership_active IS DISTINCT FROM false
  UNION
  SELECT users.user_id, concat('case ', CAST(cases.number AS varchar)) AS why
  FROM cases_now AS cases
  JOIN users_now AS users ON lower(users.username) = lower(cases.subject_username)
  WHERE cases.status = 'OPEN'
) AS held
JOIN users_now AS users ON users.user_id = held.user_id
LEFT JOIN agents_now AS agents ON agents.user_id = held.user_id
WHERE users.active = false
   OR agents.active = false
   OR agents.last_connected < CAST(current_date - INTERVAL '30' DAY AS timestamp)
ORDER BY held.why, users.username, agents.agent_id
LIMIT 500
