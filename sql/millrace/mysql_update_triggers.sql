-- Triggers that may set columns when a row is updated.
SELECT event_object_table, trigger_name
FROM information_schema.triggers
WHERE event_object_schema = %(schema)s AND event_manipulation = 'UPDATE' AND action_timing = 'BEFORE'
ORDER BY event_object_table, trigger_name
