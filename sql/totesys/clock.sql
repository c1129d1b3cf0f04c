-- A simulated clock: the time that the simulated back office of `totesys` has reached. Sample data only.
-- May be run again at any time. What does not belong here: the tables whose time it tells.
--
-- A role that reads by it is given its name:
--     ALTER ROLE reader IN DATABASE totesys SET millrace.clock = 'simulation.now'
-- simulation.now() takes the place of now() where search_path names the schema first and pg_catalog, which otherwise
-- comes before every other, after it: so the simulation's own sessions stamp what they insert.
-- current_timestamp, pg_stat_activity and other roles keep the real time. So that what a reader works out from both
-- holds, simulated time is never after the real one.

SELECT pg_advisory_xact_lock(hashtext('totesys.clock'));

CREATE SCHEMA IF NOT EXISTS simulation;
-- The functions answer as their owner, so everyone may ask the time and only the owner sets it.
GRANT USAGE ON SCHEMA simulation TO PUBLIC;

-- One row, or none: then simulated time is the real one.
-- complete_until: everything that happens up to this moment is committed; the clock waits there for the rest.
CREATE TABLE IF NOT EXISTS simulation.clock (
    is_only          boolean          PRIMARY KEY DEFAULT true CHECK (is_only),
    anchor_real      timestamptz      NOT NULL,
    anchor_simulated timestamptz      NOT NULL,
    speed            double precision NOT NULL CHECK (speed >= 0),
    complete_until   timestamptz      NOT NULL,
    CONSTRAINT never_in_the_future CHECK (anchor_simulated <= anchor_real)
);

-- What the simulation was begun with; what happens follows from it.
CREATE TABLE IF NOT EXISTS simulation.origin (
    is_only    boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    seed       bigint  NOT NULL,
    started_on date    NOT NULL
);

-- Where the clock would be if everything were committed.
CREATE OR REPLACE FUNCTION simulation.target() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (
            SELECT least(
                clock.anchor_simulated + (pg_catalog.clock_timestamp() - clock.anchor_real) * clock.speed,
                pg_catalog.clock_timestamp()
            )
            FROM simulation.clock
        ),
        pg_catalog.clock_timestamp()
    )
$$;

CREATE OR REPLACE FUNCTION simulation.clock_timestamp() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(simulation.target(), (SELECT clock.complete_until FROM simulation.clock))
$$;

CREATE OR REPLACE FUNCTION simulation.now() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT simulation.clock_timestamp()
$$;
