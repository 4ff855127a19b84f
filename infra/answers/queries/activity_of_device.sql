-- title: Activity 2: events of one device, newest first
-- says: Replace the id in the query by the device's (user.deviceUid)
-- panel: table
-- variable: days = 30
-- variable: device = 1068825680073059135
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
  AND user_device_uid = '1068825680073059135'
ORDER BY happened DESC, event_id
LIMIT 1000
