-- Columns of one table, in order, with domains resolved down to the type they rest on.
WITH RECURSIVE resolved AS (
    SELECT attribute.attnum, attribute.attname, attribute.atttypid AS type_id, attribute.atttypmod AS modifier
    FROM pg_catalog.pg_attribute AS attribute
    WHERE attribute.attrelid = %(relation)s::regclass AND attribute.attnum > 0 AND NOT attribute.attisdropped
    UNION ALL
    SELECT resolved.attnum, resolved.attname, domain.typbasetype, domain.typtypmod
    FROM resolved
    JOIN pg_catalog.pg_type AS domain ON domain.oid = resolved.type_id AND domain.typtype = 'd'
)
SELECT resolved.attname, type.typname, resolved.modifier, type.typtype, format_type(type.oid, -1)
FROM resolved
JOIN pg_catalog.pg_type AS type ON type.oid = resolved.type_id AND type.typtype <> 'd'
ORDER BY resolved.attnum
