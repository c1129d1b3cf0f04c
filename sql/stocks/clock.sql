-- A simulated clock: the time that the simulated stock platform has reached. Sample data only.
-- May be run again at any time. What does not belong here: the tables whose time it tells.
--
-- `simulation` stands for a schema beside the source's, of the same name and _simulation (stock_db_simulation): whoever
-- installs puts that in. Who writes needs ALL on both, who reads nothing here:
--     GRANT ALL ON `stock_db_simulation`.* TO stock_writer
-- A server with a binary log wants log_bin_trust_function_creators = 1 of one who is no administrator.
--
-- Times are seconds since 1970 in UTC. A session lives in simulated time after
--     SELECT `simulation`.`now`() INTO @simulated_now
--     SET @@timestamp = @simulated_now
-- and keeps that moment until it ends: NOW() and UTC_TIMESTAMP() show it, SYSDATE() and other sessions the real one. So
-- that what a reader works out from both holds, simulated time is never after the real one.

CREATE DATABASE IF NOT EXISTS `simulation` DEFAULT CHARACTER SET utf8mb4;

-- One row, or none: then there is no simulated time.
-- complete_until: everything that happens up to this moment is committed; the clock waits there for the rest.
CREATE TABLE IF NOT EXISTS `simulation`.clock (
    is_only          bool           NOT NULL DEFAULT true PRIMARY KEY CHECK (is_only),
    anchor_real      decimal(16, 6) NOT NULL,
    anchor_simulated decimal(16, 6) NOT NULL,
    speed            decimal(16, 6) NOT NULL CHECK (speed >= 0),
    complete_until   decimal(16, 6) NOT NULL,
    CONSTRAINT never_in_the_future CHECK (anchor_simulated <= anchor_real)
) ENGINE = InnoDB;

-- What the simulation was begun with; what happens follows from it.
CREATE TABLE IF NOT EXISTS `simulation`.origin (
    is_only    bool   NOT NULL DEFAULT true PRIMARY KEY CHECK (is_only),
    seed       bigint NOT NULL,
    started_on date   NOT NULL
) ENGINE = InnoDB;

-- The server's own time: SYSDATE() shows it whatever the session's timestamp is.
CREATE FUNCTION IF NOT EXISTS `simulation`.`real`() RETURNS decimal(16, 6) NOT DETERMINISTIC NO SQL
RETURN UNIX_TIMESTAMP(SYSDATE(6));

-- Where the clock would be if everything were committed.
CREATE FUNCTION IF NOT EXISTS `simulation`.`target`() RETURNS decimal(16, 6) NOT DETERMINISTIC READS SQL DATA
RETURN (
    SELECT LEAST(anchor_simulated + (`simulation`.`real`() - anchor_real) * speed, `simulation`.`real`())
    FROM `simulation`.clock
);

-- NULL where nothing was begun.
CREATE FUNCTION IF NOT EXISTS `simulation`.`now`() RETURNS decimal(16, 6) NOT DETERMINISTIC READS SQL DATA
RETURN (SELECT LEAST(`simulation`.`target`(), complete_until) FROM `simulation`.clock);
