-- title: Exposure 2: data moved to untrusted places, by device
-- says: Events of endpoints only. The device is the agent's id in the events
-- panel: table
-- variable: days = 30
SELECT user_device_uid AS device,
       max_by(user_email, event_inserted) AS last_person,
       count(*) AS events,
       count(*) FILTER (WHERE risk_severity IN ('HIGH', 'CRITICAL')) AS high_or_critical,
       sum(file_size_in_bytes) AS bytes,
       sum(risk_score) AS risk
FROM file_events_all
WHERE user_device_uid IS NOT NULL
  AND dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1
ORDER BY risk DESC NULLS LAST, events DESC, 1
LIMIT 100
