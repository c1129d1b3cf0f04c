-- The rights in a warehouse named warehouse, Redshift or Postgres: the loader makes schemas of its own, the analyst
-- reads one of them. For a superuser; may be run again at any time. Two users are there before it:
--   CREATE USER millrace_loader PASSWORD '…';
--   CREATE USER analyst PASSWORD '…';
-- On Redshift everybody may make tables in the schema public; who does not want that says once
--   REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- What does not belong here: the source (grants.sql).

-- The loader owns what it makes, and so needs no further right on it: the ledger (millrace), the replica
-- (totesys_source), the star (totesys), and temporary tables that each load is staged in.
GRANT CREATE, TEMPORARY ON DATABASE warehouse TO millrace_loader;

-- The analyst sees the star and its views, and what is added to them later; neither replica nor ledger.
CREATE SCHEMA IF NOT EXISTS totesys AUTHORIZATION millrace_loader;
GRANT USAGE ON SCHEMA totesys TO analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA totesys TO analyst;
ALTER DEFAULT PRIVILEGES FOR USER millrace_loader IN SCHEMA totesys GRANT SELECT ON TABLES TO analyst;
