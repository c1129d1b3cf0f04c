-- Redshift's functions that PostgreSQL lacks or spells otherwise, in pg_catalog where Redshift has them.
SET LOCAL allow_system_table_mods = on;
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION pg_catalog.version() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT 'PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 '
           || '(Red Hat 3.4.2-6.fc3), Redshift 1.0.110999'
$$;

-- The proxy puts the session's numbers between the parentheses.
CREATE OR REPLACE FUNCTION pg_catalog.pg_last_copy_id(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE OR REPLACE FUNCTION pg_catalog.pg_last_copy_count(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE OR REPLACE FUNCTION pg_catalog.pg_last_query_id(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1';

CREATE OR REPLACE FUNCTION pg_catalog.getdate() RETURNS timestamp LANGUAGE sql STABLE AS $$
    SELECT date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC')
$$;
CREATE OR REPLACE FUNCTION pg_catalog.sysdate() RETURNS timestamp LANGUAGE sql STABLE AS $$
    SELECT transaction_timestamp() AT TIME ZONE 'UTC'
$$;

CREATE OR REPLACE FUNCTION standin.date_part_name(part text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE
        WHEN part IN ('microsecond', 'microseconds', 'microsec', 'us') THEN 'microsecond'
        WHEN part IN ('millisecond', 'milliseconds', 'millisec', 'ms') THEN 'millisecond'
        WHEN part IN ('second', 'seconds', 'sec', 's') THEN 'second'
        WHEN part IN ('minute', 'minutes', 'min', 'm') THEN 'minute'
        WHEN part IN ('hour', 'hours', 'hr', 'h') THEN 'hour'
        WHEN part IN ('day', 'days', 'd') THEN 'day'
        WHEN part IN ('week', 'weeks', 'w') THEN 'week'
        WHEN part IN ('month', 'months', 'mon') THEN 'month'
        WHEN part IN ('quarter', 'quarters', 'qtr') THEN 'quarter'
        WHEN part IN ('year', 'years', 'yr', 'y') THEN 'year'
        ELSE part END
$$;

CREATE OR REPLACE FUNCTION pg_catalog.dateadd(part text, amount bigint, moment timestamp) RETURNS timestamp
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT moment + CASE standin.date_part_name(part)
        WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || standin.date_part_name(part))::interval END * amount
$$;
CREATE OR REPLACE FUNCTION pg_catalog.dateadd(part text, amount bigint, moment timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT AS $$
    SELECT dateadd(part, amount, moment AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
$$;
CREATE OR REPLACE FUNCTION pg_catalog.dateadd(part text, amount bigint, moment date) RETURNS timestamp
LANGUAGE sql IMMUTABLE STRICT AS 'SELECT dateadd(part, amount, moment::timestamp)';

-- DATEDIFF counts the boundaries crossed, not the time elapsed. Weeks begin on Sunday.
CREATE OR REPLACE FUNCTION pg_catalog.datediff(part text, earlier timestamp, later timestamp) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE unit
        WHEN 'year' THEN extract(year FROM later) - extract(year FROM earlier)
        WHEN 'quarter' THEN (extract(year FROM later) - extract(year FROM earlier)) * 4
                            + extract(quarter FROM later) - extract(quarter FROM earlier)
        WHEN 'month' THEN (extract(year FROM later) - extract(year FROM earlier)) * 12
                          + extract(month FROM later) - extract(month FROM earlier)
        WHEN 'week' THEN (date_trunc('week', later + interval '1 day')::date
                          - date_trunc('week', earlier + interval '1 day')::date) / 7
        WHEN 'day' THEN later::date - earlier::date
        ELSE (extract(epoch FROM date_trunc(unit, later)) - extract(epoch FROM date_trunc(unit, earlier)))
             / CASE unit WHEN 'hour' THEN 3600 WHEN 'minute' THEN 60 WHEN 'second' THEN 1
                         WHEN 'millisecond' THEN 0.001 WHEN 'microsecond' THEN 0.000001 END
        END::bigint
    FROM (SELECT standin.date_part_name(part) AS unit) AS named
$$;
CREATE OR REPLACE FUNCTION pg_catalog.datediff(part text, earlier timestamptz, later timestamptz) RETURNS bigint
LANGUAGE sql STABLE STRICT AS $$
    SELECT datediff(part, earlier AT TIME ZONE 'UTC', later AT TIME ZONE 'UTC')
$$;
CREATE OR REPLACE FUNCTION pg_catalog.datediff(part text, earlier date, later date) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT AS 'SELECT datediff(part, earlier::timestamp, later::timestamp)';

CREATE OR REPLACE FUNCTION pg_catalog.len(value text) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS 'SELECT length(value)';
CREATE OR REPLACE FUNCTION pg_catalog.nvl2(anyelement, anycompatible, anycompatible) RETURNS anycompatible
LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN $1 IS NOT NULL THEN $2 ELSE $3 END';
CREATE OR REPLACE FUNCTION pg_catalog.strtol(value text, base integer) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    digit text;
    total numeric := 0;
BEGIN
    FOREACH digit IN ARRAY regexp_split_to_array(lower(value), '') LOOP
        IF position(digit IN substr('0123456789abcdefghijklmnopqrstuvwxyz', 1, base)) = 0 THEN
            RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = format('The input %s is not valid to be converted to base %s', value, base);
        END IF;
        total := total * base + position(digit IN '0123456789abcdefghijklmnopqrstuvwxyz') - 1;
    END LOOP;
    RETURN total::bigint;
END $$;
CREATE OR REPLACE FUNCTION pg_catalog.sha2(value text, bits integer) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT encode(CASE bits WHEN 0 THEN sha256(convert_to(value, 'UTF8')) WHEN 256 THEN sha256(convert_to(value, 'UTF8'))
                            WHEN 224 THEN sha224(convert_to(value, 'UTF8')) WHEN 384 THEN sha384(convert_to(value, 'UTF8'))
                            WHEN 512 THEN sha512(convert_to(value, 'UTF8')) END, 'hex')
$$;

CREATE OR REPLACE FUNCTION pg_catalog.to_varbyte(value text, format text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN lower(format) IN ('utf8', 'utf-8') THEN convert_to(value, 'UTF8') ELSE decode(value, lower(format)) END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.from_varbyte(value bytea, format text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN lower(format) IN ('utf8', 'utf-8') THEN convert_from(value, 'UTF8') ELSE encode(value, lower(format)) END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.to_hex(value bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT encode(value, ''hex'')';
CREATE OR REPLACE FUNCTION pg_catalog.from_hex(value text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS 'SELECT decode(value, ''hex'')';

-- AWS, "SUPER limitations": arrays and objects lie at most 1,000 deep in each other.
CREATE OR REPLACE FUNCTION standin.levels(value text) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    left_over text := translate(regexp_replace(regexp_replace(value, E'"(?:[^"\\\\]|\\\\.)*"', '', 'g'), '[^][{}]', '', 'g'), '[]{}', '()()');
    levels integer := 0;
BEGIN
    WHILE left_over <> '' AND levels <= 1001 LOOP
        left_over := replace(left_over, '()', '');
        levels := levels + 1;
    END LOOP;
    RETURN levels;
END $$;
-- AWS, "SUPER configurations": no attribute twice in one object, or the last one by json_parse_dedup_attributes.
CREATE OR REPLACE FUNCTION pg_catalog.can_json_parse(value text) RETURNS boolean LANGUAGE sql STABLE STRICT AS $$
    SELECT pg_input_is_valid(value, 'jsonb')
           AND (value IS JSON WITH UNIQUE KEYS
                OR coalesce(current_setting('standin.json_parse_dedup_attributes', true), '') IN ('true', 'on'))
           AND (length(value) - length(translate(value, '[{', '')) <= 1000 OR standin.levels(value) <= 1000)
$$;
CREATE OR REPLACE FUNCTION pg_catalog.can_json_parse(value bytea) RETURNS boolean LANGUAGE sql STABLE STRICT AS $$
    SELECT can_json_parse(convert_from(value, 'UTF8'))
$$;
-- Not IMMUTABLE: the planner would call it for a constant before it knows whether it is to be called.
CREATE OR REPLACE FUNCTION standin.refuse_document(value text) RETURNS jsonb LANGUAGE plpgsql VOLATILE STRICT AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = 'JSON parsing error', DETAIL = left(
        CASE WHEN NOT value IS JSON THEN 'invalid JSON'
             WHEN NOT value IS JSON WITH UNIQUE KEYS THEN 'duplicate attribute in object'
             ELSE 'nesting depth exceeds the limit of 1000' END, 200);
END $$;
CREATE OR REPLACE FUNCTION pg_catalog.json_parse(value text) RETURNS jsonb LANGUAGE sql STABLE STRICT AS $$
    SELECT CASE WHEN can_json_parse(value) THEN value::jsonb ELSE standin.refuse_document(value) END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.json_parse(value bytea) RETURNS jsonb LANGUAGE sql STABLE STRICT AS $$
    SELECT json_parse(convert_from(value, 'UTF8'))
$$;
CREATE OR REPLACE FUNCTION pg_catalog.json_serialize(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    -- E'' because the body is read with the caller's standard_conforming_strings, which is off as on Redshift.
    SELECT regexp_replace(value::text, E'("(?:[^"\\\\]|\\\\.)*")|([:,]) ', E'\\1\\2', 'g')
$$;
CREATE OR REPLACE FUNCTION pg_catalog.json_serialize_to_varbyte(value jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT convert_to(json_serialize(value), 'UTF8')
$$;
CREATE OR REPLACE FUNCTION pg_catalog.is_valid_json(value text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT pg_input_is_valid(value, 'json') AND left(ltrim(value), 1) = '{'
$$;
CREATE OR REPLACE FUNCTION pg_catalog.json_extract_path_text(value text, VARIADIC path text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS 'SELECT value::jsonb #>> path';

CREATE OR REPLACE FUNCTION pg_catalog.standin_format_type(type_id oid, modifier integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN format_type(type_id, NULL) LIKE 'varbyte%'
                THEN 'binary varying' || coalesce('(' || nullif(modifier, -1) - 4 || ')', '')
                WHEN format_type(type_id, NULL) = 'text' THEN 'character varying(65535)'
                ELSE format_type(type_id, modifier) END
$$;
CREATE OR REPLACE FUNCTION pg_catalog.format_encoding(encoding integer) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (ARRAY['none', 'bytedict', 'runlength', 'text255', 'text32k', 'lzo', 'zstd', 'az64', 'delta', 'raw'])[encoding + 1]
$$;
