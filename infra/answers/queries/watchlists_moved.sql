-- title: Watchlists: data that members moved to untrusted places
-- says: A person on several lists counts in each of them
-- panel: table
-- variable: days = 30
SELECT coalesce(list.title, list.list_type) AS watchlist,
       member.person,
       count(*) AS events,
       sum(moved.risk_score) AS risk
FROM (
  SELECT DISTINCT of_watchlist_id, lower(actorname) AS person
  FROM watchlists_now
  WHERE list = 'members'
) AS member
JOIN watchlists_now AS list ON list.watchlist_id = member.of_watchlist_id
JOIN file_events_all AS moved ON lower(moved.user_email) = member.person
WHERE list.list IS NULL
  AND moved.dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND moved.risk_trusted IS DISTINCT FROM true
  AND moved.risk_severity IN ('LOW', 'MODERATE', 'HIGH', 'CRITICAL')
GROUP BY list.watchlist_id, 1, 2
ORDER BY risk DESC NULLS LAST, events DESC, watchlist, person
LIMIT 100
