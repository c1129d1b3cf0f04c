-- A film rental in the manner of Pagila: what Millrace was not made for, in one schema of Postgres.
CREATE SCHEMA pagila;
SET search_path = pagila;
CREATE TYPE mpaa_rating AS ENUM ('G', 'PG', 'PG-13', 'R', 'NC-17');
CREATE DOMAIN year AS integer CHECK (value BETWEEN 1901 AND 2155);
CREATE DOMAIN short AS varchar(20) CHECK (value <> '');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.last_update = clock_timestamp(); RETURN NEW; END $$;

-- Its timestamp is set by a trigger; enum, array, tsvector, domain.
CREATE TABLE film (
    film_id serial PRIMARY KEY,
    title text NOT NULL,
    release_year year,
    rating mpaa_rating DEFAULT 'G',
    special_features text[],
    fulltext tsvector,
    replacement_cost numeric(5, 2) NOT NULL DEFAULT 19.99,
    rental_duration interval DEFAULT '3 days',
    last_update timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER film_touch BEFORE UPDATE ON film FOR EACH ROW EXECUTE FUNCTION touch();
INSERT INTO film (title, release_year, rating, special_features, fulltext, replacement_cost)
    SELECT 'film ' || i, 1950 + i % 70, (ARRAY['G', 'PG', 'PG-13', 'R', 'NC-17'])[1 + i % 5]::mpaa_rating,
        ARRAY['Trailers', 'part ' || i, NULL], to_tsvector('simple', 'film ' || i), i % 100 + 0.99
    FROM generate_series(1, 200) AS i;

-- A key of two columns, a timestamp without time zone that nobody but the application sets.
CREATE TABLE film_actor (
    actor_id int, film_id int REFERENCES film, note short,
    modified_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    PRIMARY KEY (film_id, actor_id)
);
INSERT INTO film_actor SELECT i, 1 + i % 200, 'note ' || i FROM generate_series(1, 400) AS i;

-- Names in capitals, a geometric type, binary, JSON, a generated column, no timestamp.
CREATE TABLE "Customer" (
    "CustomerId" int PRIMARY KEY, "Email" text, "FirstName" varchar(45), spot point, picture bytea, details jsonb,
    born date, doubled int GENERATED ALWAYS AS ("CustomerId" * 2) STORED
);
INSERT INTO "Customer" SELECT i, i || '@example.org', E'Zo\u00eb ' || i, point(i, 1), decode(lpad(to_hex(i), 8, '0'), 'hex'),
        jsonb_build_object('visits', i, 'tags', jsonb_build_array('a', i, NULL)), DATE '1950-01-01' + i * 37
    FROM generate_series(1, 100) AS i;

-- Partitioned, and the column of the partitions belongs to the key.
CREATE TABLE payment (
    payment_id int, paid_on date NOT NULL, amount numeric(8, 2), PRIMARY KEY (payment_id, paid_on)
) PARTITION BY RANGE (paid_on);
CREATE TABLE payment_2026 PARTITION OF payment FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE payment_other PARTITION OF payment DEFAULT;
INSERT INTO payment SELECT i, DATE '2025-10-01' + i, i + 0.5 FROM generate_series(1, 300) AS i;

-- No key at all, and rows that are equal.
CREATE TABLE log_line (at timestamptz, line text);
INSERT INTO log_line SELECT TIMESTAMPTZ '2026-01-01 10:00Z' + (i % 20) * INTERVAL '1 s', 'line ' || i % 5
    FROM generate_series(1, 120) AS i;

-- A unique key in place of a primary one.
CREATE TABLE country (code char(2) NOT NULL UNIQUE, name text, calling_code smallint);
INSERT INTO country SELECT chr(97 + i / 26) || chr(97 + i % 26), 'Country ' || i, i FROM generate_series(0, 59) AS i;

-- Never filled; addresses, a range, a bit string.
CREATE TABLE waiting (
    id uuid PRIMARY KEY, address inet, device macaddr, period tstzrange, flags bit(5), answered boolean
);

-- Words of SQL as names; money, numbers at their ends.
CREATE TABLE "order" (
    id bigint PRIMARY KEY, "select" money, "Group By" interval, "100 %" double precision, tiny real, exact numeric(38, 9)
);
INSERT INTO "order" SELECT i, i * 1.25, i * INTERVAL '90 minutes', 'Infinity', 1.0 / i, i * 1234567.000000001
    FROM generate_series(1, 50) AS i;

CREATE VIEW film_list AS SELECT film_id, title, rating FROM film;
-- Without data it cannot be read: it becomes a comment in the written file.
CREATE MATERIALIZED VIEW by_rating AS SELECT rating, count(*) AS films FROM film GROUP BY rating WITH NO DATA;
