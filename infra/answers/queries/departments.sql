-- title: Trends 4: untrusted events by department
-- says: The department comes from actor_profiles by the person's name; people without a profile are under null
-- panel: table
-- variable: days = 30
SELECT profile.department AS department,
       count(DISTINCT lower(moved.user_email)) AS people,
       count(*) AS events,
       sum(moved.file_size_in_bytes) AS bytes,
       sum(moved.risk_score) AS risk
FROM (
  SELECT user_email, file_size_in_bytes, risk_score
  FROM file_events_all
  WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
    AND risk_trusted IS DISTINCT FROM true
    AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
) AS moved
LEFT JOIN (
  SELECT lower(name) AS person, max(department) AS department
  FROM actor_profiles_now
  GROUP BY 1
) AS profile ON profile.person = lower(moved.user_email)
GROUP BY 1
ORDER BY risk DESC NULLS LAST, events DESC, department
LIMIT 100
