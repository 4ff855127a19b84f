-- title: Cases: those that are open
-- says: Their newest version, what changed last first
-- panel: table
SELECT number, name, status, subject_username AS subject, assignee_username AS assignee, created_at, updated_at
FROM cases_now
WHERE status = 'OPEN'
ORDER BY updated_at DESC, number
