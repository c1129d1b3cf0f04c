-- The source of the pipeline `totesys` in Postgres: the eleven tables of a retail back office.
-- May be run again at any time, also by two at once. What does not belong here: the warehouse, the simulated clock.
--
-- Stamps are in UTC without a zone, to the millisecond. now() is unqualified: in a session whose search_path has the
-- simulated clock before pg_catalog, the defaults take that clock for good (clock.sql).
-- Ids are given by who writes. Names are as wide as people have them; codes and dates as wide as they are.
-- Agreed dates are texts (yyyy-mm-dd), as the application writes them: nothing here keeps a wrong one out.

SELECT pg_advisory_xact_lock(hashtext('totesys.source'));

CREATE TABLE IF NOT EXISTS public.address (
    address_id     integer      PRIMARY KEY,
    address_line_1 varchar(255) NOT NULL,
    address_line_2 varchar(255),
    district       varchar(255),
    city           varchar(255) NOT NULL,
    postal_code    varchar(32)  NOT NULL,
    country        varchar(255) NOT NULL,
    phone          varchar(64)  NOT NULL,
    created_at     timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated   timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.counterparty (
    counterparty_id         integer      PRIMARY KEY,
    counterparty_legal_name varchar(255) NOT NULL,
    legal_address_id        integer      NOT NULL REFERENCES public.address,
    commercial_contact      varchar(255),
    delivery_contact        varchar(255),
    created_at              timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated            timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.currency (
    currency_id   integer      PRIMARY KEY,
    currency_code varchar(3)   NOT NULL,
    created_at    timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated  timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.department (
    department_id   integer      PRIMARY KEY,
    department_name varchar(255) NOT NULL,
    location        varchar(255),
    manager         varchar(255),
    created_at      timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated    timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.design (
    design_id     integer      PRIMARY KEY,
    design_name   varchar(255) NOT NULL,
    file_location varchar(255) NOT NULL,
    file_name     varchar(255) NOT NULL,
    created_at    timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated  timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.staff (
    staff_id      integer      PRIMARY KEY,
    first_name    varchar(255) NOT NULL,
    last_name     varchar(255) NOT NULL,
    department_id integer      NOT NULL REFERENCES public.department,
    email_address varchar(255) NOT NULL,
    created_at    timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated  timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

-- No foreign key to design: an order may come before its design.
CREATE TABLE IF NOT EXISTS public.sales_order (
    sales_order_id              integer        PRIMARY KEY,
    design_id                   integer        NOT NULL,
    staff_id                    integer        NOT NULL REFERENCES public.staff,
    counterparty_id             integer        NOT NULL REFERENCES public.counterparty,
    units_sold                  integer        NOT NULL,
    unit_price                  numeric(10, 2) NOT NULL,
    currency_id                 integer        NOT NULL REFERENCES public.currency,
    agreed_delivery_date        varchar(10)    NOT NULL,
    agreed_payment_date         varchar(10)    NOT NULL,
    agreed_delivery_location_id integer        NOT NULL REFERENCES public.address,
    created_at                  timestamp(3)   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated                timestamp(3)   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.purchase_order (
    purchase_order_id           integer        PRIMARY KEY,
    staff_id                    integer        NOT NULL REFERENCES public.staff,
    counterparty_id             integer        NOT NULL REFERENCES public.counterparty,
    item_code                   varchar(32)    NOT NULL,
    item_quantity               integer        NOT NULL,
    item_unit_price             numeric(10, 2) NOT NULL,
    currency_id                 integer        NOT NULL REFERENCES public.currency,
    agreed_delivery_date        varchar(10)    NOT NULL,
    agreed_payment_date         varchar(10)    NOT NULL,
    agreed_delivery_location_id integer        NOT NULL REFERENCES public.address,
    created_at                  timestamp(3)   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated                timestamp(3)   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.payment_type (
    payment_type_id   integer      PRIMARY KEY,
    payment_type_name varchar(32)  NOT NULL,
    created_at        timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated      timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.transaction (
    transaction_id    integer      PRIMARY KEY,
    transaction_type  varchar(16)  NOT NULL,
    sales_order_id    integer      REFERENCES public.sales_order,
    purchase_order_id integer      REFERENCES public.purchase_order,
    created_at        timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated      timestamp(3) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS public.payment (
    payment_id             integer        PRIMARY KEY,
    transaction_id         integer        NOT NULL REFERENCES public.transaction,
    counterparty_id        integer        NOT NULL REFERENCES public.counterparty,
    payment_amount         numeric(10, 2) NOT NULL,
    currency_id            integer        NOT NULL REFERENCES public.currency,
    payment_type_id        integer        NOT NULL REFERENCES public.payment_type,
    paid                   boolean        NOT NULL,
    payment_date           varchar(10)    NOT NULL,
    company_ac_number      integer        NOT NULL,
    counterparty_ac_number integer        NOT NULL,
    created_at             timestamp(3)   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    last_updated           timestamp(3)   NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE INDEX IF NOT EXISTS sales_order_last_updated ON public.sales_order (last_updated);
CREATE INDEX IF NOT EXISTS purchase_order_last_updated ON public.purchase_order (last_updated);
CREATE INDEX IF NOT EXISTS transaction_last_updated ON public.transaction (last_updated);
CREATE INDEX IF NOT EXISTS payment_last_updated ON public.payment (last_updated);
-- So that the deletion of an order or a transaction does not read the whole table that refers to it.
CREATE INDEX IF NOT EXISTS transaction_sales_order ON public.transaction (sales_order_id);
CREATE INDEX IF NOT EXISTS payment_transaction ON public.payment (transaction_id);

-- The application's own bookkeeping, which lies in the same schema and is no part of the pipeline.
CREATE TABLE IF NOT EXISTS public._prisma_migrations (
    id                  varchar(36)  PRIMARY KEY,
    checksum            varchar(64)  NOT NULL,
    finished_at         timestamptz,
    migration_name      varchar(255) NOT NULL,
    logs                text,
    rolled_back_at      timestamptz,
    started_at          timestamptz  NOT NULL DEFAULT now(),
    applied_steps_count integer      NOT NULL DEFAULT 0
);

INSERT INTO public._prisma_migrations (id, checksum, finished_at, migration_name, started_at, applied_steps_count)
VALUES ('7f0c1b52-5d0e-4a6b-9a2f-3f1f8f6f2d11', repeat('0', 64), '2022-11-03 14:20:45+00', '20221103142000_init',
        '2022-11-03 14:20:44+00', 1)
ON CONFLICT (id) DO NOTHING;
