-- title: Cases: open cases
-- says: The newest version of each case, the last changed first
-- panel: table
SELECT number, name, status, subject_username AS subject, assignee_username AS assignee, created_at, updated_at
FROM cases_now
WHERE status = 'OPEN'
ORDER BY updated_at DESC, number
