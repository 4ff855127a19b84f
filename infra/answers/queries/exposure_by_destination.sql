-- title: Exposure 3: data moved to untrusted places, by destination
-- says: Category and name of the destination as Incydr gives them; null if it gives none
-- panel: table
-- variable: days = 30
SELECT destination_category, destination_name,
       count(*) AS events,
       count(*) FILTER (WHERE risk_severity IN ('HIGH', 'CRITICAL')) AS high_or_critical,
       sum(file_size_in_bytes) AS bytes,
       sum(risk_score) AS risk
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1, 2
ORDER BY risk DESC NULLS LAST, events DESC, 1, 2
LIMIT 100
