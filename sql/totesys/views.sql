-- Views of the pipeline `totesys` for analysts: history, current state, and the questions asked most.
-- Valid on Redshift and Postgres. Each statement ends with a semicolon at the end of a line and may be run on its own,
-- in this order; on Redshift whoever runs it adds WITH NO SCHEMA BINDING, so that columns may still be widened.
-- What does not belong here: tables (the loader makes them) and privileges (warehouse_grants.sql).

-- The fact tables hold every version. Here with the time in which each was what the warehouse knew: from valid_from
-- up to, but not at, valid_to (NULL: until now). A version with is_deleted says that the row had left the source.

CREATE OR REPLACE VIEW totesys.history_sales_order AS
SELECT
    sales_record_id, sales_order_id, created_date, created_time, last_updated_date, last_updated_time, sales_staff_id,
    counterparty_id, units_sold, unit_price, currency_id, design_id, agreed_payment_date, agreed_delivery_date,
    agreed_delivery_location_id,
    _version AS version,
    _loaded_at AS valid_from,
    LEAD(_loaded_at) OVER (PARTITION BY sales_order_id ORDER BY _version) AS valid_to,
    LEAD(_version) OVER (PARTITION BY sales_order_id ORDER BY _version) IS NULL AS is_current,
    _deleted_at IS NOT NULL AS is_deleted
FROM totesys.fact_sales_order;

CREATE OR REPLACE VIEW totesys.history_purchase_order AS
SELECT
    purchase_record_id, purchase_order_id, created_date, created_time, last_updated_date, last_updated_time, staff_id,
    counterparty_id, item_code, item_quantity, item_unit_price, currency_id, agreed_delivery_date, agreed_payment_date,
    agreed_delivery_location_id,
    _version AS version,
    _loaded_at AS valid_from,
    LEAD(_loaded_at) OVER (PARTITION BY purchase_order_id ORDER BY _version) AS valid_to,
    LEAD(_version) OVER (PARTITION BY purchase_order_id ORDER BY _version) IS NULL AS is_current,
    _deleted_at IS NOT NULL AS is_deleted
FROM totesys.fact_purchase_order;

CREATE OR REPLACE VIEW totesys.history_payment AS
SELECT
    payment_record_id, payment_id, created_date, created_time, last_updated_date, last_updated_time, transaction_id,
    counterparty_id, payment_amount, currency_id, payment_type_id, paid, payment_date,
    _version AS version,
    _loaded_at AS valid_from,
    LEAD(_loaded_at) OVER (PARTITION BY payment_id ORDER BY _version) AS valid_to,
    LEAD(_version) OVER (PARTITION BY payment_id ORDER BY _version) IS NULL AS is_current,
    _deleted_at IS NOT NULL AS is_deleted
FROM totesys.fact_payment;

-- The fact tables as the source is now: one row per key, none of what was deleted.

CREATE OR REPLACE VIEW totesys.current_sales_order AS
SELECT
    sales_record_id, sales_order_id, created_date, created_time, last_updated_date, last_updated_time, sales_staff_id,
    counterparty_id, units_sold, unit_price, currency_id, design_id, agreed_payment_date, agreed_delivery_date,
    agreed_delivery_location_id
FROM totesys.history_sales_order
WHERE is_current AND NOT is_deleted;

CREATE OR REPLACE VIEW totesys.current_purchase_order AS
SELECT
    purchase_record_id, purchase_order_id, created_date, created_time, last_updated_date, last_updated_time, staff_id,
    counterparty_id, item_code, item_quantity, item_unit_price, currency_id, agreed_delivery_date, agreed_payment_date,
    agreed_delivery_location_id
FROM totesys.history_purchase_order
WHERE is_current AND NOT is_deleted;

CREATE OR REPLACE VIEW totesys.current_payment AS
SELECT
    payment_record_id, payment_id, created_date, created_time, last_updated_date, last_updated_time, transaction_id,
    counterparty_id, payment_amount, currency_id, payment_type_id, paid, payment_date
FROM totesys.history_payment
WHERE is_current AND NOT is_deleted;

-- fact_purchase_order under the name in the plural.

CREATE OR REPLACE VIEW totesys.fact_purchase_orders AS
SELECT
    purchase_record_id, purchase_order_id, created_date, created_time, last_updated_date, last_updated_time, staff_id,
    counterparty_id, item_code, item_quantity, item_unit_price, currency_id, agreed_delivery_date, agreed_payment_date,
    agreed_delivery_location_id, _version, _loaded_at, _deleted_at
FROM totesys.fact_purchase_order;

-- Amounts of different currencies are never added up: each view has a row per currency.

-- What was sold, by the country of the counterparty's legal address and the month in which the order was made.

CREATE OR REPLACE VIEW totesys.sales_by_country_and_month AS
SELECT
    counterparty.counterparty_legal_country AS country,
    calendar.year,
    calendar.month,
    currency.currency_code,
    COUNT(*) AS orders,
    SUM(sale.units_sold) AS units_sold,
    SUM(sale.units_sold * sale.unit_price) AS sales_amount
FROM totesys.current_sales_order AS sale
JOIN totesys.dim_counterparty AS counterparty ON counterparty.counterparty_id = sale.counterparty_id
JOIN totesys.dim_currency AS currency ON currency.currency_id = sale.currency_id
JOIN totesys.dim_date AS calendar ON calendar.date_id = sale.created_date
GROUP BY counterparty.counterparty_legal_country, calendar.year, calendar.month, currency.currency_code;

-- Payments that are not made yet. days_overdue counts from payment_date: 0 is due today, below 0 due later.

CREATE OR REPLACE VIEW totesys.payments_due AS
SELECT
    payment.payment_id,
    payment_type.payment_type_name,
    counterparty.counterparty_legal_name,
    payment.payment_amount,
    currency.currency_code,
    payment.payment_date,
    CURRENT_DATE - payment.payment_date AS days_overdue,
    payment.payment_date < CURRENT_DATE AS is_overdue
FROM totesys.current_payment AS payment
JOIN totesys.dim_payment_type AS payment_type ON payment_type.payment_type_id = payment.payment_type_id
JOIN totesys.dim_counterparty AS counterparty ON counterparty.counterparty_id = payment.counterparty_id
JOIN totesys.dim_currency AS currency ON currency.currency_id = payment.currency_id
WHERE NOT payment.paid;

-- Designs by what was sold of them, the best of each currency at rank 1.

CREATE OR REPLACE VIEW totesys.top_designs AS
SELECT
    sold.currency_code,
    RANK() OVER (PARTITION BY sold.currency_code ORDER BY sold.sales_amount DESC) AS sales_rank,
    sold.design_id,
    sold.design_name,
    sold.orders,
    sold.units_sold,
    sold.sales_amount
FROM (
    SELECT
        currency.currency_code,
        design.design_id,
        design.design_name,
        COUNT(*) AS orders,
        SUM(sale.units_sold) AS units_sold,
        SUM(sale.units_sold * sale.unit_price) AS sales_amount
    FROM totesys.current_sales_order AS sale
    JOIN totesys.dim_design AS design ON design.design_id = sale.design_id
    JOIN totesys.dim_currency AS currency ON currency.currency_id = sale.currency_id
    GROUP BY currency.currency_code, design.design_id, design.design_name
) AS sold;

-- What each member of staff sold, by the month in which the order was made.

CREATE OR REPLACE VIEW totesys.staff_performance AS
SELECT
    staff.staff_id,
    staff.first_name,
    staff.last_name,
    staff.department_name,
    staff.location,
    calendar.year,
    calendar.month,
    currency.currency_code,
    COUNT(*) AS orders,
    SUM(sale.units_sold) AS units_sold,
    SUM(sale.units_sold * sale.unit_price) AS sales_amount
FROM totesys.current_sales_order AS sale
JOIN totesys.dim_staff AS staff ON staff.staff_id = sale.sales_staff_id
JOIN totesys.dim_currency AS currency ON currency.currency_id = sale.currency_id
JOIN totesys.dim_date AS calendar ON calendar.date_id = sale.created_date
GROUP BY
    staff.staff_id, staff.first_name, staff.last_name, staff.department_name, staff.location,
    calendar.year, calendar.month, currency.currency_code;
