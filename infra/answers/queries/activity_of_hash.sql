-- title: Activity 3: events of one file by its MD5 or SHA-256, newest first
-- says: Replace the hash in the query by the file's
-- panel: table
-- variable: days = 30
-- variable: hash = d41d8cd98f00b204e9800998ecf8427e
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
  AND lower('d41d8cd98f00b204e9800998ecf8427e') IN (lower(file_hash_md5), lower(file_hash_sha256))
ORDER BY happened DESC, event_id
LIMIT 1000
