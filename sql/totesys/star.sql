-- The warehouse of `totesys`, worked out a second time: in SQL, from the source and the history of its changes, without
-- anything of the pipeline. Run in the source by the owner of `simulation`; a temporary table runs (table_name, read_at)
-- says when the pipeline read which table. Makes a temporary view or table per table of the warehouse.
-- What does not belong here: how a difference is told (local/demos/totesys_star.py).

-- What each run could see of each row: the last change before it. Between two runs only the last state is visible.
CREATE INDEX ON runs (table_name, read_at);

CREATE TEMPORARY TABLE seen AS
SELECT table_name, key, "row", sequence, read_at
FROM (
    SELECT
        placed.*,
        row_number() OVER (PARTITION BY table_name, key, read_at ORDER BY sequence DESC) AS back
    FROM (
        SELECT
            history.*,
            (
                SELECT min(runs.read_at)
                FROM runs
                WHERE runs.table_name = history.table_name AND runs.read_at >= history.changed_at
            ) AS read_at
        FROM simulation.history
    ) AS placed
    WHERE read_at IS NOT NULL
) AS ranked
WHERE back = 1;

-- The facts' columns as one document per state; NULL for a row that is gone.
CREATE TEMPORARY VIEW contents AS
SELECT
    table_name,
    key,
    sequence,
    CASE
        WHEN "row" IS NULL THEN NULL
        WHEN table_name = 'sales_order' THEN "row" - 'agreed_delivery_date' - 'agreed_payment_date' || jsonb_build_object(
            'agreed_delivery_date', ("row" ->> 'agreed_delivery_date')::date,
            'agreed_payment_date', ("row" ->> 'agreed_payment_date')::date
        )
        WHEN table_name = 'payment' THEN "row" - 'company_ac_number' - 'counterparty_ac_number'
        ELSE "row"
    END AS content
FROM seen
WHERE table_name IN ('sales_order', 'purchase_order', 'payment');

-- A state that is like the one before is no version; nor is the absence of a row that was never seen.
CREATE TEMPORARY TABLE versions AS
SELECT
    table_name,
    key,
    content IS NULL AS is_deleted,
    coalesce(content, before) AS content,
    row_number() OVER (PARTITION BY table_name, key ORDER BY sequence) AS version
FROM (
    SELECT
        contents.*,
        lag(content) OVER (PARTITION BY table_name, key ORDER BY sequence) AS before,
        row_number() OVER (PARTITION BY table_name, key ORDER BY sequence) AS place
    FROM contents
) AS states
WHERE content IS DISTINCT FROM before;

CREATE TEMPORARY VIEW fact_sales_order AS
SELECT
    key * 10000 + version AS sales_record_id,
    key AS sales_order_id,
    (content ->> 'created_at')::timestamp::date AS created_date,
    (content ->> 'created_at')::timestamp::time AS created_time,
    (content ->> 'last_updated')::timestamp::date AS last_updated_date,
    (content ->> 'last_updated')::timestamp::time AS last_updated_time,
    (content ->> 'staff_id')::int AS sales_staff_id,
    (content ->> 'counterparty_id')::int AS counterparty_id,
    (content ->> 'units_sold')::int AS units_sold,
    (content ->> 'unit_price')::numeric(10, 2) AS unit_price,
    (content ->> 'currency_id')::int AS currency_id,
    (content ->> 'design_id')::int AS design_id,
    (content ->> 'agreed_payment_date')::date AS agreed_payment_date,
    (content ->> 'agreed_delivery_date')::date AS agreed_delivery_date,
    (content ->> 'agreed_delivery_location_id')::int AS agreed_delivery_location_id,
    is_deleted
FROM versions
WHERE table_name = 'sales_order';

CREATE TEMPORARY VIEW fact_purchase_order AS
SELECT
    key * 10000 + version AS purchase_record_id,
    key AS purchase_order_id,
    (content ->> 'created_at')::timestamp::date AS created_date,
    (content ->> 'created_at')::timestamp::time AS created_time,
    (content ->> 'last_updated')::timestamp::date AS last_updated_date,
    (content ->> 'last_updated')::timestamp::time AS last_updated_time,
    (content ->> 'staff_id')::int AS staff_id,
    (content ->> 'counterparty_id')::int AS counterparty_id,
    content ->> 'item_code' AS item_code,
    (content ->> 'item_quantity')::int AS item_quantity,
    (content ->> 'item_unit_price')::numeric(10, 2) AS item_unit_price,
    (content ->> 'currency_id')::int AS currency_id,
    (content ->> 'agreed_delivery_date')::date AS agreed_delivery_date,
    (content ->> 'agreed_payment_date')::date AS agreed_payment_date,
    (content ->> 'agreed_delivery_location_id')::int AS agreed_delivery_location_id,
    is_deleted
FROM versions
WHERE table_name = 'purchase_order';

CREATE TEMPORARY VIEW fact_payment AS
SELECT
    key * 10000 + version AS payment_record_id,
    key AS payment_id,
    (content ->> 'created_at')::timestamp::date AS created_date,
    (content ->> 'created_at')::timestamp::time AS created_time,
    (content ->> 'last_updated')::timestamp::date AS last_updated_date,
    (content ->> 'last_updated')::timestamp::time AS last_updated_time,
    (content ->> 'transaction_id')::int AS transaction_id,
    (content ->> 'counterparty_id')::int AS counterparty_id,
    (content ->> 'payment_amount')::numeric(10, 2) AS payment_amount,
    (content ->> 'currency_id')::int AS currency_id,
    (content ->> 'payment_type_id')::int AS payment_type_id,
    (content ->> 'paid')::boolean AS paid,
    (content ->> 'payment_date')::date AS payment_date,
    is_deleted
FROM versions
WHERE table_name = 'payment';

CREATE TEMPORARY VIEW dim_transaction AS
SELECT transaction_id, transaction_type, sales_order_id, purchase_order_id FROM public.transaction;

CREATE TEMPORARY VIEW dim_staff AS
SELECT
    staff_id,
    first_name,
    last_name,
    coalesce(department_name, 'Unknown') AS department_name,
    coalesce(location, 'Unknown') AS location,
    email_address
FROM public.staff
LEFT JOIN public.department USING (department_id);

CREATE TEMPORARY VIEW dim_payment_type AS
SELECT payment_type_id, payment_type_name FROM public.payment_type;

CREATE TEMPORARY VIEW dim_location AS
SELECT
    address_id AS location_id, address_line_1, address_line_2, district, city, postal_code, country, phone
FROM public.address;

CREATE TEMPORARY VIEW dim_design AS
SELECT design_id, design_name, file_location, file_name FROM public.design;

CREATE TEMPORARY VIEW dim_currency AS
SELECT
    currency_id,
    currency_code,
    CASE currency_code WHEN 'GBP' THEN 'Pound Sterling' WHEN 'USD' THEN 'US Dollar' WHEN 'EUR' THEN 'Euro' END
        AS currency_name
FROM public.currency;

CREATE TEMPORARY VIEW dim_counterparty AS
SELECT
    counterparty_id,
    counterparty_legal_name,
    address_line_1 AS counterparty_legal_address_line_1,
    address_line_2 AS counterparty_legal_address_line_2,
    district AS counterparty_legal_district,
    city AS counterparty_legal_city,
    postal_code AS counterparty_legal_postal_code,
    country AS counterparty_legal_country,
    phone AS counterparty_legal_phone_number
FROM public.counterparty
JOIN public.address ON address_id = legal_address_id;

CREATE TEMPORARY VIEW dim_date AS
SELECT
    date_id,
    extract(year FROM date_id)::int AS year,
    extract(month FROM date_id)::int AS month,
    extract(day FROM date_id)::int AS day,
    extract(isodow FROM date_id)::int AS day_of_week,
    to_char(date_id, 'FMDay') AS day_name,
    to_char(date_id, 'FMMonth') AS month_name,
    extract(quarter FROM date_id)::int AS quarter
FROM (
    SELECT unnest(ARRAY[created_date, last_updated_date, agreed_payment_date, agreed_delivery_date]) AS date_id
    FROM fact_sales_order
    UNION
    SELECT unnest(ARRAY[created_date, last_updated_date, agreed_payment_date, agreed_delivery_date])
    FROM fact_purchase_order
    UNION
    SELECT unnest(ARRAY[created_date, last_updated_date, payment_date]) FROM fact_payment
) AS dates;

-- How long stamped changes waited for a run to read them; not those of the first run, which were there before it.
CREATE TEMPORARY VIEW waits AS
SELECT table_name, extract(epoch FROM read_at - (("row" ->> 'last_updated')::timestamp AT TIME ZONE 'UTC')) AS seconds
FROM (
    SELECT
        seen.*,
        lag("row") OVER (PARTITION BY table_name, key ORDER BY sequence) ->> 'last_updated' AS former,
        min(read_at) OVER (PARTITION BY table_name) AS first_read_at
    FROM seen
) AS changes
WHERE read_at > first_read_at AND "row" IS NOT NULL AND "row" ->> 'last_updated' IS DISTINCT FROM former;

-- What no stamp tells, as a run could see it: the row is another one than at the run before, and its last_updated is not
-- after that run; and rows that were there and are gone.
CREATE TEMPORARY VIEW quiet AS
SELECT
    table_name,
    count(*) FILTER (WHERE "row" IS NOT NULL) AS silent,
    count(*) FILTER (WHERE "row" IS NULL) AS deleted
FROM (
    SELECT
        seen.*,
        lag("row") OVER (PARTITION BY table_name, key ORDER BY sequence) AS before
    FROM seen
) AS changes
WHERE before IS NOT NULL
    AND before IS DISTINCT FROM "row"
    AND ("row" IS NULL OR "row" ->> 'last_updated' = before ->> 'last_updated')
GROUP BY table_name;
