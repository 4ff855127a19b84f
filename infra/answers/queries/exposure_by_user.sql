-- title: Exposure 1: data moved to untrusted places, by person
-- says: Events with a risk that are not trusted: their number, bytes and sum of risk scores
-- panel: table
-- variable: days = 30
SELECT lower(user_email) AS person,
       count(*) AS events,
       count(*) FILTER (WHERE risk_severity IN ('HIGH', 'CRITICAL')) AS high_or_critical,
       sum(file_size_in_bytes) AS bytes,
       sum(risk_score) AS risk,
       count(DISTINCT destination_name) AS destinations,
       max(event_inserted) AS last_seen
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1
ORDER BY risk DESC NULLS LAST, events DESC, 1
LIMIT 100
