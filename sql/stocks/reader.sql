-- The rights of the pipeline `stocks` in its source: one user that reads, no more.
-- For an administrator; may be run again at any time. The user is there before it:
--   CREATE USER 'stock_reader'@'%' IDENTIFIED BY '…';
-- What does not belong here: the warehouse, and who writes (clock.sql says what the sample data's writer needs).

GRANT SELECT ON `stock\_db`.* TO 'stock_reader'@'%';

-- When the oldest open transaction began is where the next read starts. Without this right nobody can see it of other
-- users' sessions, and each run reads the last minutes again instead.
GRANT PROCESS ON *.* TO 'stock_reader'@'%';
