-- title: Leavers 1: people who leave within 30 days, and the data they moved
-- says: By the end date in actor_profiles. Trusted and untrusted events of the last 30 days
-- panel: table
-- variable: days = 30
SELECT profile.name AS person,
       profile.end_date,
       profile.department,
       coalesce(moved.events, 0) AS events,
       coalesce(moved.untrusted, 0) AS untrusted,
       coalesce(moved.bytes, 0) AS bytes,
       coalesce(moved.risk, 0) AS risk
FROM actor_profiles_now AS profile
LEFT JOIN (
  SELECT lower(user_email) AS person,
         count(*) AS events,
         count(*) FILTER (WHERE risk_trusted IS DISTINCT FROM true
                            AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')) AS untrusted,
         sum(file_size_in_bytes) AS bytes,
         sum(risk_score) AS risk
  FROM file_events_all
  WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  GROUP BY 1
) AS moved ON moved.person = lower(profile.name)
WHERE profile.end_date BETWEEN current_date AND current_date + INTERVAL '30' DAY
ORDER BY risk DESC, events DESC, profile.end_date, person
