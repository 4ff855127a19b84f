-- title: Activity 1: events of one person, newest first
-- says: Replace the address in the query by the person's
-- panel: table
-- variable: days = 30
-- variable: person = somebody@example.com
SELECT "timestamp" AS happened,
       user_email AS person,
       user_device_uid AS device,
       event_action AS action,
       event_vector AS vector,
       file_name,
       file_category,
       file_size_in_bytes AS bytes,
       file_hash_sha256 AS sha256,
       destination_category,
       destination_name,
       risk_severity AS severity,
       risk_trusted AS trusted
FROM file_events_all
WHERE dt >= date_format(current_date - INTERVAL '30' DAY, '%Y-%m-%d')
  AND lower(user_email) = lower('somebody@example.com')
ORDER BY happened DESC, event_id
LIMIT 1000
