-- What the change log can tell of some tables, in the order in which they were asked for: whether they are published, by
-- which columns a changed row is named, and a fingerprint. The fingerprint changes with everything that moves rows or
-- values and that the log does not tell: a partition that is attached, detached, truncated or dropped, a table that is
-- rewritten, a column that is added with a default, a table that leaves the publication and comes back.
WITH RECURSIVE wanted AS (
    SELECT number, pg_catalog.to_regclass(pg_catalog.format('%%I.%%I', schema_name, table_name))::oid AS relation
    FROM unnest(%(schemas)s::text[], %(names)s::text[]) WITH ORDINALITY AS asked (schema_name, table_name, number)
),

-- A partitioned table with its partitions; an inherited one with its children.
tree AS (
    SELECT number, relation FROM wanted
    UNION ALL
    SELECT tree.number, inherits.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS inherits ON inherits.inhparent = tree.relation
),

-- The columns by which the log names a row; '*': all of them.
identities AS (
    SELECT
        tree.number,
        CASE
            WHEN class.relreplident = 'f' THEN ARRAY['*']
            ELSE (
                SELECT array_agg(attribute.attname::text ORDER BY attribute.attname)
                FROM pg_catalog.pg_index AS index
                JOIN pg_catalog.pg_attribute AS attribute
                    ON attribute.attrelid = index.indrelid
                    AND attribute.attnum = ANY ((index.indkey::int2[])[0 : index.indnkeyatts - 1])
                WHERE
                    index.indrelid = class.oid
                    AND CASE class.relreplident WHEN 'd' THEN index.indisprimary WHEN 'i' THEN index.indisreplident END
            )
        END AS columns
    FROM tree
    JOIN pg_catalog.pg_class AS class ON class.oid = tree.relation AND class.relkind = 'r'
),

facts AS (
    SELECT tree.number, pg_catalog.format('file %%s %%s', class.oid, class.relfilenode) AS fact
    FROM tree
    JOIN pg_catalog.pg_class AS class ON class.oid = tree.relation
    UNION ALL
    SELECT tree.number, pg_catalog.format(
        'column %%s %%s %%s %%s %%s %%s', attrelid, attnum, attname, atttypid, atttypmod, attmissingval
    )
    FROM tree
    JOIN pg_catalog.pg_attribute ON attrelid = tree.relation AND attnum > 0 AND NOT attisdropped
    UNION ALL
    -- xmin is the transaction that wrote an entry of a catalog: of one that was altered and altered back, or made again.
    SELECT tree.number, pg_catalog.format('partition %%s %%s', inherits.inhrelid, inherits.xmin)
    FROM tree
    JOIN pg_catalog.pg_inherits AS inherits ON inherits.inhrelid = tree.relation
    UNION ALL
    SELECT tree.number, pg_catalog.format('expression %%s %%s', adrelid, pg_catalog.pg_get_expr(adbin, adrelid))
    FROM tree
    JOIN pg_catalog.pg_attrdef ON adrelid = tree.relation
    JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum AND attgenerated <> ''
    UNION ALL
    SELECT tree.number, pg_catalog.format('label %%s %%s', enum.oid, enum.enumlabel)
    FROM tree
    JOIN pg_catalog.pg_attribute ON attrelid = tree.relation AND attnum > 0 AND NOT attisdropped
    JOIN pg_catalog.pg_enum AS enum ON enum.enumtypid = atttypid
    UNION ALL
    SELECT wanted.number, pg_catalog.format(
        'publication %%s %%s %%s %%s', publication.oid, publication.xmin, member.oid, member.xmin
    )
    FROM wanted
    CROSS JOIN pg_catalog.pg_publication AS publication
    LEFT JOIN pg_catalog.pg_publication_rel AS member
        ON member.prpubid = publication.oid AND member.prrelid = wanted.relation
    WHERE publication.pubname = %(publication)s
)

SELECT
    wanted.relation::bigint,
    class.relkind::text,
    (SELECT count(*) FROM tree WHERE tree.number = wanted.number) > 1 AS has_children,
    (SELECT count(DISTINCT coalesce(columns, '{}')) FROM identities WHERE identities.number = wanted.number) > 1
    AS has_several_identities,
    coalesce((SELECT columns FROM identities WHERE identities.number = wanted.number LIMIT 1), '{}') AS identity,
    published.tablename IS NOT NULL AS is_published,
    (
        SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate
        FROM pg_catalog.pg_publication
        WHERE pubname = %(publication)s
    ) AS tells_all_operations,
    EXISTS (
        SELECT 1
        FROM pg_catalog.pg_publication AS publication
        JOIN pg_catalog.pg_publication_rel AS member ON member.prpubid = publication.oid
        WHERE publication.pubname = %(publication)s AND member.prrelid = wanted.relation
    ) AS is_named,
    -- Since Postgres 15 a publication may hold some columns and some rows only.
    to_jsonb(published) -> 'attnames' AS published_columns,
    to_jsonb(published) ->> 'rowfilter' AS row_filter,
    (SELECT md5(string_agg(fact, ',' ORDER BY fact)) FROM facts WHERE facts.number = wanted.number) AS fingerprint,
    -- Negative if the table, or one of its partitions, was never analyzed.
    (
        SELECT CASE WHEN min(part.reltuples) < 0 THEN -1 ELSE sum(part.reltuples) END::bigint
        FROM tree
        JOIN pg_catalog.pg_class AS part ON part.oid = tree.relation AND part.relkind = 'r'
        WHERE tree.number = wanted.number
    ) AS estimated_rows
FROM wanted
LEFT JOIN pg_catalog.pg_class AS class ON class.oid = wanted.relation
LEFT JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
LEFT JOIN pg_catalog.pg_publication_tables AS published
    ON published.pubname = %(publication)s
    AND published.schemaname = namespace.nspname
    AND published.tablename = class.relname
ORDER BY wanted.number
