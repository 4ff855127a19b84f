-- title: Trends 2: untrusted events by vector and day
-- says: The number of events of each vector a day
-- panel: timeseries
-- variable: days = 30
SELECT date_trunc('day', event_inserted) AS day,
       event_vector AS vector,
       count(*) AS events
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1, 2
ORDER BY day, vector
