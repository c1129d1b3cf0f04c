-- Columns of tables, in order, with domains resolved down to the type they rest on. The last says as what a value is
-- compared with others: types of extensions as text, because their own comparisons lie in schemas that are not trusted.
WITH RECURSIVE resolved AS (
    SELECT attribute.attrelid, attribute.attnum, attribute.attname, attribute.atttypid AS type_id, attribute.atttypmod AS modifier
    FROM pg_catalog.pg_attribute AS attribute
    WHERE attribute.attrelid = ANY (%(relations)s::regclass[]::oid[]) AND attribute.attnum > 0 AND NOT attribute.attisdropped
    UNION ALL
    SELECT resolved.attrelid, resolved.attnum, resolved.attname, domain.typbasetype, domain.typtypmod
    FROM resolved
    JOIN pg_catalog.pg_type AS domain ON domain.oid = resolved.type_id AND domain.typtype = 'd'
)
SELECT
    resolved.attname,
    -- Somebody may have made a type and called it int4.
    CASE WHEN type.typtype = 'b' OR is_servers_own THEN type.typname ELSE format_type(type.oid, -1) END,
    resolved.modifier,
    type.typtype,
    CASE WHEN type.typtype <> 'b' OR type.typcategory = 'A' OR is_servers_own THEN format_type(type.oid, -1) ELSE 'text' END,
    resolved.attrelid::oid::text
FROM resolved
JOIN pg_catalog.pg_type AS type ON type.oid = resolved.type_id AND type.typtype <> 'd'
CROSS JOIN LATERAL (SELECT type.typnamespace = 'pg_catalog'::regnamespace AS is_servers_own) AS origin
ORDER BY resolved.attrelid, resolved.attnum
