-- title: Exposure 4: data moved to untrusted places, by vector
-- says: The vector as Incydr names it: upload, removable media, sharing and so on
-- panel: pie
-- variable: days = 30
SELECT event_vector AS vector,
       count(*) AS events,
       count(*) FILTER (WHERE risk_severity IN ('HIGH', 'CRITICAL')) AS high_or_critical,
       sum(file_size_in_bytes) AS bytes,
       sum(risk_score) AS risk
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1
ORDER BY risk DESC NULLS LAST, events DESC, 1
LIMIT 100
