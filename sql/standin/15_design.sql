-- How tables are stored on Redshift: DISTKEY, SORTKEY and ENCODE change nothing here but what ALTER TABLE allows.
SET LOCAL standard_conforming_strings = on;

CREATE TABLE IF NOT EXISTS standin.design (
    table_id oid, column_number smallint, is_dist_key boolean NOT NULL DEFAULT false, is_automatic boolean NOT NULL DEFAULT false,
    sort_position integer NOT NULL DEFAULT 0, encoding text, PRIMARY KEY (table_id, column_number)
);

CREATE OR REPLACE FUNCTION standin.column_number(relation text, column_name text) RETURNS smallint LANGUAGE plpgsql STABLE AS $$
DECLARE
    found smallint;
BEGIN
    SELECT a.attnum INTO found FROM pg_attribute a
    WHERE a.attrelid = relation::regclass AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped;
    IF found IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('column "%s" does not exist', column_name);
    END IF;
    RETURN found;
END $$;

-- AWS, "SUPER limitations": a SUPER column is neither distribution key nor sort key.
CREATE OR REPLACE FUNCTION standin.check_key(relation text, column_name text) RETURNS smallint LANGUAGE plpgsql STABLE AS $$
DECLARE
    found smallint := standin.column_number(relation, column_name);
BEGIN
    IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation::regclass AND a.attnum = found
               AND a.atttypid IN (to_regtype('pg_catalog.super'), to_regtype('pg_catalog.jsonb'))) THEN
        RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = format('SUPER column "%s" cannot be a distribution or sort key', column_name),
            HINT = 'Redshift''s rule: SUPER limitations: no SUPER column as distribution or sort key';
    END IF;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION standin.set_dist_key(relation text, column_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE standin.design SET is_dist_key = false, is_automatic = false WHERE table_id = relation::regclass;
    IF column_name <> '' THEN
        INSERT INTO standin.design (table_id, column_number, is_dist_key)
        VALUES (relation::regclass, standin.check_key(relation, column_name), true)
        ON CONFLICT (table_id, column_number) DO UPDATE SET is_dist_key = true;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION standin.set_sort_key(relation text, column_names jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE standin.design SET sort_position = 0 WHERE table_id = relation::regclass;
    INSERT INTO standin.design (table_id, column_number, sort_position)
    SELECT relation::regclass, standin.check_key(relation, one.name), one.number
    FROM jsonb_array_elements_text(column_names) WITH ORDINALITY AS one (name, number)
    ON CONFLICT (table_id, column_number) DO UPDATE SET sort_position = excluded.sort_position;
END $$;

CREATE OR REPLACE FUNCTION standin.set_encoding(relation text, column_name text, encoding text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO standin.design (table_id, column_number, encoding)
    VALUES (relation::regclass, standin.column_number(relation, column_name), encoding)
    ON CONFLICT (table_id, column_number) DO UPDATE SET encoding = excluded.encoding;
END $$;

-- AWS, "ALTER TABLE": "You can't drop a column that is the distribution key (DISTKEY) or a sort key (SORTKEY) of the table."
CREATE OR REPLACE FUNCTION standin.check_drop_column(relation text, column_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    kept standin.design;
BEGIN
    SELECT * INTO kept FROM standin.design
    WHERE table_id = relation::regclass AND column_number = standin.column_number(relation, column_name);
    IF kept.is_dist_key OR kept.sort_position > 0 THEN
        RAISE EXCEPTION USING ERRCODE = '0A000',
            MESSAGE = format('cannot drop %s column "%s"', CASE WHEN kept.is_dist_key THEN 'distkey' ELSE 'sortkey' END, column_name),
            HINT = 'Redshift''s rule: ALTER TABLE: a distribution or sort key column cannot be dropped';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION standin.encoding(relation oid, number smallint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT coalesce((SELECT lower(d.encoding) FROM standin.design d
                     WHERE d.table_id = relation AND d.column_number = number), 'none')
$$;
GRANT SELECT ON standin.design TO PUBLIC;
