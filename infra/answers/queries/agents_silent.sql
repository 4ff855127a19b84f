-- title: Agents: active, and unhealthy or without a connection for 7 days
-- says: The newest version of each agent. last_connected is stored once a day if nothing else changes
-- panel: table
SELECT agent_id, name, os_hostname, user_id, os_name, product_version, last_connected,
       array_join(agent_health_issue_types, ', ') AS issues
FROM agents_now
WHERE active
  AND (last_connected IS NULL
    OR last_connected < CAST(current_date - INTERVAL '7' DAY AS timestamp)
    OR cardinality(agent_health_issue_types) > 0)
ORDER BY last_connected NULLS FIRST, agent_id
LIMIT 500
