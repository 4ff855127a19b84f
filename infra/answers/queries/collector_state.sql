-- title: Collector: state of each stream
-- says: The newest change of state in the last 30 days, with its error
-- panel: table
-- variable: days = 30
SELECT stream, state, at, error_type, error_message, stuck_count
FROM (
  SELECT stream, state, at, error_type, error_message, stuck_count,
         row_number() OVER (PARTITION BY stream ORDER BY at DESC, state DESC) AS nth
  FROM collector_health_all
  WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
)
WHERE nth = 1
ORDER BY stream
