-- Redshift's types that PostgreSQL lacks, lengths in bytes, and what the stand-in keeps for itself.
SET LOCAL allow_system_table_mods = on;
SET LOCAL standard_conforming_strings = on;

CREATE SCHEMA IF NOT EXISTS standin;
GRANT USAGE ON SCHEMA standin TO PUBLIC;
CREATE SEQUENCE IF NOT EXISTS standin.query_id START 1000;

-- Redshift has no right to connect: who has a password may; and everybody may make temporary tables.
DO $$
BEGIN
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO PUBLIC', current_database());
END $$;

-- VARCHAR(n) counts bytes: an assignment that is too long fails unless only blanks are lost, a cast cuts.
CREATE OR REPLACE FUNCTION standin.shorten(value text, limit_bytes integer, cut boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    shortened text := left(value, limit_bytes);
BEGIN
    WHILE octet_length(shortened) > limit_bytes LOOP
        shortened := left(shortened, -1);
    END LOOP;
    IF NOT cut AND rtrim(substr(value, length(shortened) + 1), ' ') <> '' THEN
        RAISE EXCEPTION USING ERRCODE = '22001',
            MESSAGE = format('value too long for type character varying(%s)', limit_bytes);
    END IF;
    RETURN shortened;
END $$;

CREATE OR REPLACE FUNCTION standin.to_length(varchar, integer, boolean) RETURNS varchar
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $2 < 4 OR octet_length($1) <= $2 - 4 THEN $1 ELSE standin.shorten($1, $2 - 4, $3)::varchar END
$$;
UPDATE pg_catalog.pg_cast SET castfunc = 'standin.to_length(varchar, integer, boolean)'::regprocedure
WHERE castsource = 'varchar'::regtype AND casttarget = 'varchar'::regtype
    AND castfunc <> 'standin.to_length(varchar, integer, boolean)'::regprocedure;

DO $$
BEGIN
    IF to_regtype('pg_catalog.super') IS NULL THEN
        CREATE DOMAIN pg_catalog.super AS jsonb;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION standin.super_fits(document jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT octet_length(document::text) <= 16777216 AND NOT EXISTS (
        SELECT FROM jsonb_path_query(document, 'strict $.**') part
        WHERE jsonb_typeof(part) = 'string' AND octet_length(part #>> '{}') > 65535)
$$;
ALTER DOMAIN pg_catalog.super DROP CONSTRAINT IF EXISTS super_limits;
ALTER DOMAIN pg_catalog.super ADD CONSTRAINT super_limits
    CHECK (pg_column_size(VALUE) <= 65535 OR standin.super_fits(VALUE));

CREATE OR REPLACE PROCEDURE standin.ensure_varbyte(length_bytes integer) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(5439);
    IF to_regtype(format('pg_catalog.varbyte_%s', length_bytes)) IS NULL THEN
        EXECUTE format('CREATE DOMAIN pg_catalog.varbyte_%s AS bytea CONSTRAINT varbyte_length '
                       'CHECK (octet_length(VALUE) <= %s)', length_bytes, length_bytes);
    END IF;
END $$;

-- Redshift's name of a column's type, as its catalog views show it.
CREATE OR REPLACE FUNCTION standin.type_name(type_id oid) RETURNS varchar LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN name LIKE 'varbyte%' OR name = 'bytea' THEN 'binary varying'
                WHEN name = 'text' THEN 'character varying' ELSE name END
    FROM (SELECT format_type(type_id, NULL) AS name) AS formatted
$$;

-- As PostgreSQL 8 computes it for the information schema: the length of a VARBYTE is not among them (AWS, "SVV_COLUMNS").
CREATE OR REPLACE FUNCTION standin.type_length(type_id oid, modifier integer) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN name IN ('character varying', 'character') AND modifier > 4 THEN modifier - 4
                WHEN name IN ('character varying', 'text') THEN 65535 END
    FROM (SELECT format_type(type_id, NULL) AS name) AS formatted
$$;

-- pg_attribute.atttypmod as Redshift has it: a length in bytes and four more, for VARBYTE too.
CREATE OR REPLACE FUNCTION standin.type_modifier(type_id oid, modifier integer) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN name LIKE 'varbyte%' THEN substr(name, 9)::integer + 4 ELSE modifier END
    FROM (SELECT format_type(type_id, NULL) AS name) AS formatted
$$;

-- ALTER COLUMN TYPE changes the size of a VARCHAR or VARBYTE, and only of one that nothing depends on. AWS, "ALTER TABLE":
-- "You can't alter a column with compression encodings BYTEDICT, RUNLENGTH, TEXT255, or TEXT32K.
CREATE OR REPLACE FUNCTION standin.check_alter_type(relation text, column_name text, new_type text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    target record;
BEGIN
    SELECT a.attnum, a.atthasdef OR a.attidentity <> '' AS has_default, format_type(a.atttypid, NULL) AS type,
           EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = a.attrelid AND c.contype = 'c'
                   AND a.attnum = ANY (c.conkey)) AS has_key
    INTO target FROM pg_attribute a
    WHERE a.attrelid = relation::regclass AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('column "%s" does not exist', column_name);
    END IF;
    IF NOT (target.type = 'character varying' AND new_type LIKE 'varchar(%'
            OR target.type LIKE 'varbyte%' AND new_type LIKE 'pg_catalog.varbyte%') THEN
        RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'target data type is not supported',
            HINT = 'Redshift''s rule: ALTER COLUMN TYPE changes the size of a VARCHAR or VARBYTE only';
    END IF;
    IF EXISTS (SELECT FROM standin.design d WHERE d.table_id = relation::regclass AND d.column_number = target.attnum
               AND upper(d.encoding) IN ('BYTEDICT', 'RUNLENGTH', 'TEXT255', 'TEXT32K')) THEN
        RAISE EXCEPTION USING ERRCODE = '0A000',
            MESSAGE = format('cannot alter type of column "%s" with its compression encoding', column_name),
            HINT = 'Redshift''s rule: ALTER COLUMN TYPE: no encoding BYTEDICT, RUNLENGTH, TEXT255 or TEXT32K';
    END IF;
    IF target.has_default OR target.has_key THEN
        RAISE EXCEPTION USING ERRCODE = '0A000',
            MESSAGE = format('cannot alter type of column "%s" with a default value or key', column_name),
            HINT = 'Redshift''s rule: ALTER COLUMN TYPE: no DEFAULT, UNIQUE, PRIMARY KEY or FOREIGN KEY on the column';
    END IF;
END $$;
