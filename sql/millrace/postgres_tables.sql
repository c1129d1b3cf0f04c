-- The tables and views of a schema, without partitions: those are read through their table.
SELECT
    class.oid::text,
    class.relname,
    class.relkind,
    class.relispopulated,
    has_table_privilege(class.oid, 'SELECT'),
    -- A table that was never analysed says -1, and a partitioned one says little.
    (
        SELECT sum(greatest(leaf.reltuples, 0))::bigint
        FROM pg_catalog.pg_class AS leaf
        WHERE leaf.oid = class.oid
            OR leaf.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(class.oid) WHERE isleaf)
    ),
    CASE class.relkind
        WHEN 'p' THEN (
            SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
            FROM pg_catalog.pg_partition_tree(class.oid)
        )
        WHEN 'v' THEN 0
        ELSE pg_total_relation_size(class.oid)
    END,
    (
        -- An identity column has no expression of its own.
        SELECT coalesce(json_agg(json_build_array(
            attribute.attname,
            CASE WHEN attribute.attidentity <> '' THEN 'nextval()' ELSE pg_get_expr(assigned.adbin, assigned.adrelid) END
        )), '[]')
        FROM pg_catalog.pg_attribute AS attribute
        LEFT JOIN pg_catalog.pg_attrdef AS assigned
            ON assigned.adrelid = attribute.attrelid AND assigned.adnum = attribute.attnum
        WHERE
            attribute.attrelid = class.oid
            AND attribute.attgenerated = ''
            AND (attribute.attidentity <> '' OR assigned.adbin IS NOT NULL)
    ),
    (
        SELECT coalesce(json_agg(json_build_array(index.indisprimary, names.columns)), '[]')
        FROM pg_catalog.pg_index AS index
        CROSS JOIN LATERAL (
            SELECT
                json_agg(attribute.attname ORDER BY place.number) AS columns,
                bool_and(attribute.attnotnull) AS is_not_null,
                count(*) AS found
            FROM unnest(index.indkey::int2[]) WITH ORDINALITY AS place (attnum, number)
            JOIN pg_catalog.pg_attribute AS attribute
                ON attribute.attrelid = index.indrelid AND attribute.attnum = place.attnum
            WHERE place.number <= index.indnkeyatts
        ) AS names
        WHERE index.indrelid = class.oid
            AND index.indisunique AND index.indisvalid AND index.indimmediate
            AND index.indpred IS NULL AND index.indexprs IS NULL AND names.is_not_null
    ),
    (
        -- Bit 1: for each row; 2: before; 16: on update.
        SELECT coalesce(json_agg(trigger.tgname ORDER BY trigger.tgname), '[]')
        FROM pg_catalog.pg_trigger AS trigger
        WHERE trigger.tgrelid = class.oid AND NOT trigger.tgisinternal AND trigger.tgenabled <> 'D'
            AND trigger.tgtype & 19 = 19
    )
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = %(schema)s AND class.relkind IN ('r', 'p', 'v', 'm') AND NOT class.relispartition
ORDER BY class.relname
