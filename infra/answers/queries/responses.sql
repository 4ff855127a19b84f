-- title: Responder: each request and its outcome
-- says: Requests of the last 30 days. No outcome means that a delivery was interrupted: send the same request again
-- panel: table
-- variable: days = 30
SELECT asked.request_id, asked.at AS asked, asked.action, asked.requested_by, asked.reason,
       coalesce(ended.approved_by, asked.approved_by) AS approved_by, ended.outcome, ended.at AS ended, ended.error_message,
       asked.input
FROM response_actions_all AS asked
LEFT JOIN response_actions_all AS ended
  ON ended.request_id = asked.request_id AND ended.kind = 'result'
  AND ended.dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
WHERE asked.kind = 'intent' AND asked.dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
ORDER BY asked.at DESC, asked.request_id
