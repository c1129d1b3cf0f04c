-- AWS, "Character types": trailing blanks are not significant when values are compared. PostgreSQL compares CHAR so; here
-- VARCHAR gets the same functions, also for joins, GROUP BY, DISTINCT and ORDER BY, which go by the type's operator classes.
SET LOCAL allow_system_table_mods = on;
SET LOCAL standard_conforming_strings = on;

DO $$
BEGIN
    IF to_regprocedure('pg_catalog.varchareq(varchar, varchar)') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE FUNCTION pg_catalog.varchareq(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpchareq';
    CREATE FUNCTION pg_catalog.varcharne(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharne';
    CREATE FUNCTION pg_catalog.varcharlt(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharlt';
    CREATE FUNCTION pg_catalog.varcharle(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharle';
    CREATE FUNCTION pg_catalog.varchargt(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpchargt';
    CREATE FUNCTION pg_catalog.varcharge(varchar, varchar) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharge';
    CREATE FUNCTION pg_catalog.varcharcmp(varchar, varchar) RETURNS integer LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharcmp';
    CREATE FUNCTION pg_catalog.hashvarchar(varchar) RETURNS integer LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashbpchar';
    CREATE FUNCTION pg_catalog.hashvarcharextended(varchar, bigint) RETURNS bigint LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashbpcharextended';
    CREATE OPERATOR pg_catalog.= (FUNCTION = pg_catalog.varchareq, LEFTARG = varchar, RIGHTARG = varchar,
        COMMUTATOR = OPERATOR(pg_catalog.=), NEGATOR = OPERATOR(pg_catalog.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
    CREATE OPERATOR pg_catalog.<> (FUNCTION = pg_catalog.varcharne, LEFTARG = varchar, RIGHTARG = varchar,
        COMMUTATOR = OPERATOR(pg_catalog.<>), NEGATOR = OPERATOR(pg_catalog.=), RESTRICT = neqsel, JOIN = neqjoinsel);
    CREATE OPERATOR pg_catalog.< (FUNCTION = pg_catalog.varcharlt, LEFTARG = varchar, RIGHTARG = varchar,
        COMMUTATOR = OPERATOR(pg_catalog.>), NEGATOR = OPERATOR(pg_catalog.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
    CREATE OPERATOR pg_catalog.<= (FUNCTION = pg_catalog.varcharle, LEFTARG = varchar, RIGHTARG = varchar,
        COMMUTATOR = OPERATOR(pg_catalog.>=), NEGATOR = OPERATOR(pg_catalog.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
    CREATE OPERATOR pg_catalog.> (FUNCTION = pg_catalog.varchargt, LEFTARG = varchar, RIGHTARG = varchar,
        COMMUTATOR = OPERATOR(pg_catalog.<), NEGATOR = OPERATOR(pg_catalog.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
    CREATE OPERATOR pg_catalog.>= (FUNCTION = pg_catalog.varcharge, LEFTARG = varchar, RIGHTARG = varchar,
        COMMUTATOR = OPERATOR(pg_catalog.<=), NEGATOR = OPERATOR(pg_catalog.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
    CREATE OPERATOR CLASS pg_catalog.redshift_varchar_ops DEFAULT FOR TYPE varchar USING btree AS
        OPERATOR 1 pg_catalog.<, OPERATOR 2 pg_catalog.<=, OPERATOR 3 pg_catalog.=, OPERATOR 4 pg_catalog.>=,
        OPERATOR 5 pg_catalog.>, FUNCTION 1 pg_catalog.varcharcmp(varchar, varchar);
    CREATE OPERATOR CLASS pg_catalog.redshift_varchar_ops DEFAULT FOR TYPE varchar USING hash AS
        OPERATOR 1 pg_catalog.=, FUNCTION 1 pg_catalog.hashvarchar(varchar),
        FUNCTION 2 pg_catalog.hashvarcharextended(varchar, bigint);
END $$;

-- AWS, "Type compatibility and conversion": BOOLEAN is not cast to a character type.
CREATE OR REPLACE FUNCTION standin.refuse_boolean(boolean) RETURNS varchar LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '42846', MESSAGE = 'cannot cast type boolean to character varying',
        HINT = 'Redshift''s rule: type compatibility and conversion: BOOLEAN is not cast to VARCHAR; use CASE';
END $$;
UPDATE pg_catalog.pg_cast SET castcontext = 'e', castfunc = 'standin.refuse_boolean(boolean)'::regprocedure
WHERE castsource = 'boolean'::regtype AND casttarget IN ('varchar'::regtype, 'text'::regtype, 'bpchar'::regtype)
    AND castfunc <> 'standin.refuse_boolean(boolean)'::regprocedure;
