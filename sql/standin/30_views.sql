-- Redshift's system views, as far as loaders read them.
SET LOCAL allow_system_table_mods = on;
SET LOCAL standard_conforming_strings = on;

CREATE TABLE IF NOT EXISTS standin.load_error (
    user_id integer, query_id bigint, transaction_id bigint, session_id integer, database_name varchar(64),
    table_id integer, start_time timestamp, file_name varchar(256), line_number bigint, column_name varchar(127),
    column_type varchar(32), column_length varchar(10), "position" integer, error_code integer,
    error_message varchar(512)
);

CREATE OR REPLACE PROCEDURE standin.record_load_error(
    copy_id bigint, relation bigint, file text, line bigint, column_name text, column_type text, column_length text,
    error_code integer, message text
) LANGUAGE sql AS $$
    INSERT INTO standin.load_error VALUES (
        100, copy_id, 0, pg_backend_pid(), current_database(), relation, getdate(), left(file, 256), line,
        left(column_name, 127), left(column_type, 32), column_length, 0, error_code, message::varchar(512))
$$;

CREATE OR REPLACE VIEW pg_catalog.sys_load_error_detail AS SELECT * FROM standin.load_error;

CREATE OR REPLACE VIEW pg_catalog.svv_columns AS
SELECT current_database()::varchar(128) AS table_catalog, n.nspname::varchar(128) AS table_schema,
       c.relname::varchar(128) AS table_name, a.attname::varchar(128) AS column_name,
       -- By the names that people ask for, so that a question for one table does not number all of them.
       row_number() OVER (PARTITION BY n.nspname::varchar(128), c.relname::varchar(128) ORDER BY a.attnum)::integer
           AS ordinal_position,
       CASE WHEN a.attidentity <> '' THEN format('"identity"(%s, 0, ''%s,%s''::text)', c.oid, s.seqstart, s.seqincrement)
            ELSE pg_get_expr(d.adbin, d.adrelid) END::varchar(4000) AS column_default,
       CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END::varchar(3) AS is_nullable,
       standin.type_name(a.atttypid)::varchar(128) AS data_type,
       standin.type_length(a.atttypid, a.atttypmod) AS character_maximum_length,
       CASE standin.type_name(a.atttypid) WHEN 'numeric' THEN ((a.atttypmod - 4) >> 16) & 65535 WHEN 'smallint' THEN 16
            WHEN 'integer' THEN 32 WHEN 'bigint' THEN 64 WHEN 'real' THEN 24 WHEN 'double precision' THEN 53
            END AS numeric_precision,
       CASE standin.type_name(a.atttypid) WHEN 'numeric' THEN 10 WHEN 'smallint' THEN 2 WHEN 'integer' THEN 2
            WHEN 'bigint' THEN 2 WHEN 'real' THEN 2 WHEN 'double precision' THEN 2 END AS numeric_precision_radix,
       CASE standin.type_name(a.atttypid) WHEN 'numeric' THEN (a.atttypmod - 4) & 2047 WHEN 'smallint' THEN 0
            WHEN 'integer' THEN 0 WHEN 'bigint' THEN 0 END AS numeric_scale,
       CASE WHEN standin.type_name(a.atttypid) LIKE 'time%' THEN 6 END AS datetime_precision,
       NULL::varchar(256) AS remarks
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'v')
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_depend p ON p.refobjid = a.attrelid AND p.refobjsubid = a.attnum AND p.deptype = 'i'
     AND p.classid = 'pg_class'::regclass
LEFT JOIN pg_catalog.pg_sequence s ON s.seqrelid = p.objid
WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname <> 'standin';

CREATE OR REPLACE VIEW pg_catalog.svv_tables AS
SELECT current_database()::varchar(128) AS table_catalog, n.nspname::varchar(128) AS table_schema,
       c.relname::varchar(128) AS table_name,
       CASE WHEN c.relkind = 'v' THEN 'VIEW' WHEN c.relpersistence = 't' THEN 'LOCAL TEMPORARY'
            ELSE 'BASE TABLE' END::varchar(32) AS table_type,
       NULL::varchar(256) AS remarks
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v') AND n.nspname <> 'standin';

CREATE OR REPLACE VIEW pg_catalog.svv_table_info AS
SELECT current_database()::varchar(128) AS database, n.nspname::varchar(128) AS schema, c.oid::integer AS table_id,
       c.relname::varchar(128) AS "table", 'Y'::varchar(1) AS encoded,
       coalesce((SELECT CASE WHEN d.is_automatic THEN format('AUTO(KEY(%s))', a.attname) ELSE format('KEY(%s)', a.attname) END
                 FROM standin.design d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.table_id AND a.attnum = d.column_number
                 WHERE d.table_id = c.oid AND d.is_dist_key), 'AUTO(ALL)')::varchar(140) AS diststyle,
       coalesce((SELECT CASE WHEN d.is_automatic AND NOT d.is_dist_key THEN format('AUTO(SORTKEY(%s))', a.attname)
                             ELSE a.attname END
                 FROM standin.design d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.table_id AND a.attnum = d.column_number
                 WHERE d.table_id = c.oid AND d.sort_position = 1), 'AUTO(SORTKEY)')::varchar(140) AS sortkey1,
       greatest(c.relpages, 1)::bigint AS size,
       s.n_live_tup::numeric(38, 0) AS tbl_rows
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stat_user_tables s ON s.relid = c.oid
WHERE n.nspname <> 'standin' AND s.n_live_tup > 0;

CREATE OR REPLACE VIEW pg_catalog.pg_table_def AS
SELECT n.nspname AS schemaname, c.relname AS tablename, a.attname AS "column",
       format_type(a.atttypid, a.atttypmod) AS type, standin.encoding(c.oid, a.attnum)::char(32) AS encoding,
       coalesce(d.is_dist_key, false) AS distkey, coalesce(d.sort_position, 0) AS sortkey, a.attnotnull AS "notnull"
FROM pg_catalog.pg_attribute a
LEFT JOIN standin.design d ON d.table_id = a.attrelid AND d.column_number = a.attnum
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped AND pg_table_is_visible(c.oid) AND n.nspname <> 'standin';

-- pg_attribute with what Redshift adds to it; the front puts it in the place of PostgreSQL's.
CREATE OR REPLACE VIEW pg_catalog.standin_attribute AS
SELECT a.attrelid, a.attname, a.atttypid, a.attlen, a.attnum, a.attndims,
       standin.type_modifier(a.atttypid, a.atttypmod) AS atttypmod, a.attnotnull, a.atthasdef, a.attisdropped,
       coalesce(d.is_dist_key, false) AS attisdistkey, coalesce(d.sort_position, 0) AS attsortkeyord,
       array_position(ARRAY['none', 'bytedict', 'runlength', 'text255', 'text32k', 'lzo', 'zstd', 'az64', 'delta', 'raw'],
                      standin.encoding(a.attrelid, a.attnum)) - 1 AS attencodingtype
FROM pg_catalog.pg_attribute a
LEFT JOIN standin.design d ON d.table_id = a.attrelid AND d.column_number = a.attnum;

-- AWS, "PG_CLASS_INFO": 1 is DISTSTYLE KEY, 11 AUTO(EVEN), 12 AUTO(KEY).
CREATE OR REPLACE VIEW pg_catalog.pg_class_info AS
SELECT c.oid AS reloid, c.relname, c.relnamespace,
       coalesce((SELECT CASE WHEN d.is_automatic THEN 12 ELSE 1 END FROM standin.design d
                 WHERE d.table_id = c.oid AND d.is_dist_key), 11)::smallint AS releffectivediststyle
FROM pg_catalog.pg_class c;

-- Keys are kept as checks that are always true; here they look like what they were declared as.
CREATE OR REPLACE VIEW pg_catalog.standin_table_constraints AS
SELECT current_database()::varchar(128) AS constraint_catalog, n.nspname::varchar(128) AS constraint_schema,
       o.conname::varchar(128) AS constraint_name, current_database()::varchar(128) AS table_catalog,
       n.nspname::varchar(128) AS table_schema, c.relname::varchar(128) AS table_name,
       replace(substring(pg_get_constraintdef(o.oid) FROM $$'([A-Z ]+)'$$), 'REFERENCES', 'FOREIGN KEY')::varchar(32)
           AS constraint_type,
       'NO'::varchar(3) AS is_deferrable, 'NO'::varchar(3) AS initially_deferred
FROM pg_catalog.pg_constraint o
JOIN pg_catalog.pg_class c ON c.oid = o.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE o.contype = 'c' AND o.conname NOT LIKE 'overflow$%' AND n.nspname NOT IN ('standin', 'information_schema');

-- Who may do what with a table, its owner included, as Redshift tells it.
CREATE OR REPLACE VIEW pg_catalog.svv_relation_privileges AS
SELECT n.nspname::varchar(128) AS namespace_name, c.relname::varchar(128) AS relation_name,
       a.privilege_type::varchar(128) AS privilege_type, a.grantee::integer AS identity_id,
       CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END::varchar(128) AS identity_name,
       CASE a.grantee WHEN 0 THEN 'public' ELSE 'user' END::varchar(128) AS identity_type,
       a.is_grantable AS admin_option
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
     LATERAL aclexplode(c.relacl) a
WHERE c.relkind IN ('r', 'v') AND n.nspname <> 'standin';

-- The same of single columns, which Redshift grants without an option.
CREATE OR REPLACE VIEW pg_catalog.svv_column_privileges AS
SELECT n.nspname::varchar(128) AS namespace_name, c.relname::varchar(128) AS relation_name,
       t.attname::varchar(128) AS column_name, a.privilege_type::varchar(128) AS privilege_type,
       a.grantee::integer AS identity_id,
       CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END::varchar(128) AS identity_name,
       CASE a.grantee WHEN 0 THEN 'public' ELSE 'user' END::varchar(128) AS identity_type
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid,
     LATERAL aclexplode(t.attacl) a
WHERE c.relkind IN ('r', 'v') AND n.nspname <> 'standin';

GRANT SELECT ON standin.load_error, pg_catalog.sys_load_error_detail, pg_catalog.svv_columns, pg_catalog.svv_tables,
    pg_catalog.svv_relation_privileges, pg_catalog.svv_column_privileges, pg_catalog.svv_table_info, pg_catalog.pg_table_def, pg_catalog.standin_table_constraints, pg_catalog.standin_attribute,
    pg_catalog.pg_class_info TO PUBLIC;
