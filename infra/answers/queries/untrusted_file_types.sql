-- title: Trends 5: file types moved to untrusted places most often
-- says: By the extension of the file's name, in lower case
-- panel: bar
-- variable: days = 30
SELECT lower(regexp_extract(file_name, '\.([A-Za-z0-9]+)$', 1)) AS ending,
       file_category AS category,
       count(*) AS events,
       sum(file_size_in_bytes) AS bytes
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND risk_trusted IS DISTINCT FROM true
  AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY 1, 2
ORDER BY events DESC, ending, category
LIMIT 50
