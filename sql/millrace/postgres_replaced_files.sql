-- Whether a table that this snapshot reads was given other files since the snapshot was taken: by TRUNCATE, by a rewriting
-- ALTER TABLE, or as a partition that was attached or detached. Then rows that the snapshot should show are not there,
-- because these commands do not keep them for older snapshots ("MVCC Caveats" in Postgres's manual). Catalogs are read in
-- the snapshot here; the functions tell what is true now. Asked after the table was read: the lock of the read then keeps
-- such commands away.
WITH RECURSIVE used AS (
    SELECT %(relation)s::regclass::oid AS relation
    UNION
    SELECT found.relation
    FROM used
    CROSS JOIN LATERAL (
        SELECT inherits.inhrelid
        FROM pg_catalog.pg_inherits AS inherits
        WHERE inherits.inhparent = used.relation
        UNION ALL
        -- The tables of a view.
        SELECT depend.refobjid
        FROM pg_catalog.pg_rewrite AS rewrite
        JOIN pg_catalog.pg_depend AS depend
            ON depend.classid = 'pg_catalog.pg_rewrite'::regclass
            AND depend.objid = rewrite.oid
            AND depend.refclassid = 'pg_catalog.pg_class'::regclass
        WHERE rewrite.ev_class = used.relation AND depend.refobjid <> used.relation
    ) AS found (relation)
),

partitions AS (
    SELECT tree.relid::oid AS relation
    FROM used
    JOIN pg_catalog.pg_class AS class ON class.oid = used.relation AND class.relkind = 'p'
    CROSS JOIN LATERAL pg_partition_tree(used.relation) AS tree
)

SELECT EXISTS (
    SELECT 1
    FROM used
    JOIN pg_catalog.pg_class AS class ON class.oid = used.relation
    WHERE
        class.relkind = 'r'
        -- Tables of the system have no number here.
        AND class.relfilenode <> 0
        AND class.relfilenode IS DISTINCT FROM pg_relation_filenode(class.oid)
) OR EXISTS (
    SELECT relation FROM partitions
    EXCEPT
    SELECT relation FROM used
) OR EXISTS (
    SELECT inherits.inhrelid
    FROM pg_catalog.pg_inherits AS inherits
    JOIN partitions ON partitions.relation = inherits.inhparent
    EXCEPT
    SELECT relation FROM partitions
)
