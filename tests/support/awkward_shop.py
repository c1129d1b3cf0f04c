"""A shop whose tables nobody made for us: every kind of key, cursor and type that `init` must know, in two servers."""

from __future__ import annotations

from datetime import UTC, datetime

MOMENT = datetime(2026, 1, 5, 10, tzinfo=UTC)

POSTGRES = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN short AS varchar(20) CHECK (value <> '');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.last_update = clock_timestamp(); RETURN NEW; END $$;
CREATE TABLE film (
    film_id serial PRIMARY KEY, title text NOT NULL, rating mood, tags text[],
    description tsvector, price numeric(6, 2),
    last_update timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER film_touch BEFORE UPDATE ON film FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE film_actor (
    actor_id int, film_id int, note short, modified_at timestamp DEFAULT (now() AT TIME ZONE 'UTC'),
    PRIMARY KEY (film_id, actor_id)
);
CREATE TABLE "Customer" (
    "CustomerId" int PRIMARY KEY, "Email" text, "FirstName" text, spot point, picture bytea, doubled int
    GENERATED ALWAYS AS ("CustomerId" * 2) STORED
);
CREATE TABLE payment (payment_id int, paid_on date NOT NULL, amount numeric(8, 2), PRIMARY KEY (payment_id, paid_on))
    PARTITION BY RANGE (paid_on);
CREATE TABLE payment_2026 PARTITION OF payment FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE payment_old PARTITION OF payment DEFAULT;
CREATE TABLE log_line (at timestamptz DEFAULT now(), line text);
CREATE TABLE country (code char(2) NOT NULL UNIQUE, name text);
CREATE TABLE empty_one (id uuid PRIMARY KEY, v inet);
CREATE TABLE "order" (id bigint PRIMARY KEY, "select" money, "Group By" interval);
CREATE VIEW film_list AS SELECT film_id, title FROM film;
CREATE MATERIALIZED VIEW by_rating AS SELECT rating, count(*) AS films FROM film GROUP BY rating WITH NO DATA;
INSERT INTO film (title, rating, tags, description, price)
    SELECT 'film ' || i, 'ok', ARRAY['a', i::text], to_tsvector('film ' || i), i FROM generate_series(1, 40) AS i;
INSERT INTO film_actor SELECT i, 1 + i % 40, 'note' FROM generate_series(1, 60) AS i;
INSERT INTO "Customer" SELECT i, i || '@x.org', 'n', point(i, 1), '\\x00ff'::bytea FROM generate_series(1, 10) AS i;
INSERT INTO payment SELECT i, DATE '2025-12-01' + i, i FROM generate_series(1, 60) AS i;
INSERT INTO log_line (line) SELECT 'line ' || (i % 5) FROM generate_series(1, 30) AS i;
INSERT INTO country VALUES ('de', 'Deutschland'), ('fr', 'France');
INSERT INTO "order" VALUES (1, 5, '1 day'), (2, 6, '2 hours');
"""
POSTGRES_CHANGES = """
UPDATE film SET title = 'changed' WHERE film_id = 1;
ALTER TABLE film DISABLE TRIGGER film_touch;
UPDATE film SET price = 99 WHERE film_id = 2;
ALTER TABLE film ENABLE TRIGGER film_touch;
DELETE FROM film WHERE film_id = 3;
INSERT INTO film (title) VALUES ('new');
UPDATE film_actor SET note = 'silent' WHERE actor_id = 1;
UPDATE film_actor SET actor_id = 1000 WHERE actor_id = 2;
UPDATE "Customer" SET spot = point(0, 0), "CustomerId" = 100 WHERE "CustomerId" = 1;
UPDATE payment SET paid_on = '2026-06-01' WHERE payment_id = 1;
DELETE FROM payment WHERE payment_id = 2;
INSERT INTO log_line (line) VALUES ('line 1');
DELETE FROM country WHERE code = 'fr';
INSERT INTO empty_one VALUES ('00112233-4455-6677-8899-aabbccddeeff', '10.0.0.1');
ALTER TABLE film ADD COLUMN length int DEFAULT 7;
ALTER TABLE country ADD COLUMN continent text;
ALTER TABLE "order" ALTER COLUMN "Group By" TYPE text;
"""
MYSQL = (
    "CREATE TABLE actor (actor_id smallint unsigned AUTO_INCREMENT PRIMARY KEY, first_name varchar(45), "
    "last_update timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)",
    "CREATE TABLE InvoiceLine (InvoiceLineId int PRIMARY KEY, UnitPrice decimal(10, 2), flag tinyint(1), born year, "
    "kind enum('a', 'b'), options set('x', 'y'), details json, picture blob)",
    "CREATE TABLE store (store_id tinyint NOT NULL, spot geometry, changed_on datetime(6), UNIQUE (store_id))",
    "CREATE TABLE visits (at datetime, page varchar(100))",
    "CREATE TABLE tokens (id binary(16) PRIMARY KEY, api_key varchar(50), updated_at datetime)",
    "CREATE VIEW actor_list AS SELECT actor_id, first_name FROM actor",
    "INSERT INTO actor (first_name) VALUES ('a'), ('b'), ('c'), ('d')",
    "INSERT INTO InvoiceLine VALUES (1, 2.50, 1, 1999, 'a', 'x,y', '{\"a\": 1}', x'00FF'), "
    "(2, 3.50, 0, 2001, 'b', '', '[]', NULL)",
    "INSERT INTO store VALUES (1, POINT(1, 2), '2026-01-01'), (2, NULL, NULL)",
    "INSERT INTO visits VALUES ('2026-01-01 10:00', '/'), ('2026-01-01 10:00', '/'), ('2026-01-01 11:00', '/a')",
    "INSERT INTO tokens VALUES (x'00112233445566778899AABBCCDDEEFF', 'k', '2026-01-01')",
    "COMMIT",
)
MYSQL_CHANGES = (
    "UPDATE actor SET first_name = 'changed' WHERE actor_id = 1",
    "UPDATE actor SET first_name = 'silent', last_update = last_update WHERE actor_id = 2",
    "DELETE FROM actor WHERE actor_id = 3",
    "UPDATE InvoiceLine SET InvoiceLineId = 7 WHERE InvoiceLineId = 2",
    "INSERT INTO visits VALUES ('2026-01-01 10:00', '/')",
    "UPDATE store SET store_id = 9, changed_on = UTC_TIMESTAMP() WHERE store_id = 2",
    "ALTER TABLE InvoiceLine ADD COLUMN note varchar(10) DEFAULT 'n'",
    "COMMIT",
)
