-- title: Trends 3: people with the highest risk, by week
-- says: The ten people with the highest sum of risk scores in each week. A week begins on Monday, UTC
-- panel: table
-- variable: days = 30
SELECT week, nth, person, events, risk
FROM (
  SELECT week, person, events, risk,
         row_number() OVER (PARTITION BY week ORDER BY risk DESC NULLS LAST, events DESC, person) AS nth
  FROM (
    SELECT date_trunc('week', event_inserted) AS week,
           lower(user_email) AS person,
           count(*) AS events,
           sum(risk_score) AS risk
    FROM file_events_all
    WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
      AND risk_trusted IS DISTINCT FROM true
      AND risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
    GROUP BY 1, 2
  )
)
WHERE nth <= 10
ORDER BY week DESC, nth
