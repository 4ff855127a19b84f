-- title: Trends 1: untrusted events by day and severity
-- says: By the day (UTC) on which Incydr received the event
-- panel: timeseries
-- variable: days = 30
SELECT date_trunc('day', event_inserted) AS day,
       risk_severity AS severity,
       count(*) AS events,
       sum(file_size_in_bytes) AS bytes
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1, 2
ORDER BY day, severity
