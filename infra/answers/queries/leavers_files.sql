-- title: Leavers 2: their events to untrusted places
-- says: Each untrusted event with a risk of the people who leave within 30 days
-- panel: table
-- variable: days = 30
SELECT moved."timestamp" AS happened,
       profile.name AS person,
       profile.end_date,
       moved.event_action AS action,
       moved.file_name,
       moved.file_category,
       moved.destination_category,
       moved.destination_name,
       moved.risk_severity AS severity
FROM file_events_all AS moved
JOIN (
  SELECT lower(name) AS name, min(end_date) AS end_date
  FROM actor_profiles_now
  GROUP BY 1
) AS profile ON profile.name = lower(moved.user_email)
WHERE moved.dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND moved.risk_trusted IS DISTINCT FROM true
  AND moved.risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
  AND profile.end_date BETWEEN current_date AND current_date + INTERVAL '30' DAY
ORDER BY happened DESC, moved.event_id
LIMIT 1000
