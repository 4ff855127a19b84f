-- title: Sessions: open sessions, the most severe first
-- says: The newest version of each session. Severity 4 is critical, 0 is none
-- panel: table
SELECT session_id, actor_name AS person, type, severity, score, state, begin_time, last_updated,
       critical_events, high_events, array_join(risk_indicators, ', ') AS indicators, exfiltration_summary
FROM sessions_now
WHERE state IN ('OPEN', 'OPEN_NEW_DATA', 'IN_PROGRESS')
ORDER BY severity DESC NULLS LAST, score DESC NULLS LAST, begin_time DESC, session_id
LIMIT 200
