-- Views for analysts over the star of `stocks`. Redshift and Postgres.
-- What does not belong here: tables (the pipeline makes them).

-- Each trade as it was: at the price, and by the user, of its own time.
CREATE OR REPLACE VIEW stocks.trade AS
SELECT
    f.transaction_id,
    f.transaction_date,
    f.user_id,
    u.name AS user_name,
    u.email AS user_email,
    f.stock_id,
    s.company,
    s.category,
    f.quantity,
    s.price,
    f.quantity * s.price AS amount
FROM stocks.transaction_fact AS f
LEFT JOIN stocks.user_dim AS u ON u.user_key = f.user_key
LEFT JOIN stocks.stock_dim AS s ON s.stock_key = f.stock_key;

-- What each user's shares were worth at the end of each day on which anybody traded (days of UTC+7, as trades say
-- them), at the prices of that day: the versions that were valid in its last moment.
CREATE OR REPLACE VIEW stocks.portfolio_value AS
WITH trades AS (
    SELECT user_id, stock_id, quantity, transaction_date::DATE AS traded_on
    FROM stocks.transaction_fact
    WHERE user_id IS NOT NULL AND transaction_date IS NOT NULL
),
days AS (
    SELECT DISTINCT traded_on AS day, (traded_on + 1)::TIMESTAMP - INTERVAL '7 hours' AS ends
    FROM trades
)
SELECT
    d.day,
    t.user_id,
    sum(t.quantity * s.price) AS value,
    count(DISTINCT t.stock_id) AS stocks,
    count(CASE WHEN s.price IS NULL THEN 1 END) AS trades_without_price
FROM days AS d
JOIN trades AS t ON t.traded_on <= d.day
LEFT JOIN stocks.stock_dim_at AS s
    ON s.stock_id = t.stock_id AND s.valid_from < d.ends AND (d.ends <= s.valid_until OR s.valid_until IS NULL)
GROUP BY d.day, t.user_id;
