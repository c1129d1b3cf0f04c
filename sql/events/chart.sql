-- Events of some kinds by UTC day and platform, from the first day on, before the day after the last. Redshift and
-- Postgres. The range is on the table's sort key as it is, so that only the blocks of these days are read.
-- What does not belong here: days and platforms without events (pipelines/events/counts.py).
SELECT
    e."timestamp"::DATE AS day,
    e.event,
    e.context_device_type AS platform,
    count(*) AS events
FROM events.events AS e
WHERE e."timestamp" >= %(start)s AND e."timestamp" < %(end)s AND e.event IN %(kinds)s
GROUP BY 1, 2, 3
