-- Checks of columns that MariaDB made of JSON: a longtext with a check, which only MariaDB (/*M! */) can tell of.
SELECT '' AS table_name, '' AS check_clause
FROM dual
WHERE 1 = 0
/*M!100214
UNION ALL
SELECT checks.table_name, checks.check_clause
FROM information_schema.check_constraints AS checks
WHERE checks.constraint_schema = %(schema)s AND checks.check_clause LIKE 'json_valid(%%'
*/
