-- The source of the pipeline `stori` in Postgres: bank transactions, and which files they came from.
-- May be run again at any time, also by two at once. What does not belong here: the warehouse.

SELECT pg_advisory_xact_lock(hashtext('stori.source'));

CREATE TABLE IF NOT EXISTS public.transactions (
    transaction_no      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_no          bigint         NOT NULL,
    date                date           NOT NULL,
    transaction_details varchar(255),
    chip_used           boolean        NOT NULL,
    value_date          date           NOT NULL,
    withdrawal_amt      numeric(12, 2),
    deposit_amt         numeric(12, 2),
    balance_amt         numeric(14, 2) NOT NULL,
    created_at          timestamptz    NOT NULL DEFAULT now(),
    updated_at          timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT exactly_one_amount CHECK (num_nonnulls(withdrawal_amt, deposit_amt) = 1)
);

CREATE INDEX IF NOT EXISTS transactions_updated_at ON public.transactions (updated_at);

-- clock_timestamp() and not now(): the trigger runs after the row is locked, so the stamps of one row always grow,
-- while now() of a transaction that began early and came late would set the stamp back.
CREATE OR REPLACE FUNCTION public.stamp_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER transactions_stamp_updated_at
    BEFORE UPDATE ON public.transactions
    FOR EACH ROW EXECUTE FUNCTION public.stamp_updated_at();

-- One row per file, written in the transaction that copies its records: who loses the race for the key copies
-- nothing, and a crash half way leaves neither the file nor its records.
CREATE TABLE IF NOT EXISTS public.imported_files (
    sha256      char(64)    PRIMARY KEY,
    name        text        NOT NULL,
    rows        bigint      NOT NULL,
    rejected    bigint      NOT NULL,
    rejects_key text        NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now()
);
