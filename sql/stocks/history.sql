-- Every version of every row, by triggers: what an independent recomputation of the warehouse starts from.
-- The product never reads it. May be run again at any time, after source.sql and clock.sql, and in the source's schema:
-- a trigger belongs to its table's.
--
-- sequence   order of the changes of this table; it may have gaps
-- at         when it happened, UTC: the session's UTC_TIMESTAMP(6), which is simulated time where the clock is
-- operation  inserted, updated or deleted
-- the rest   the row after the change; of a deleted one as it was last. Its stamps are as the platform writes them
--
-- An update of a user that left updated_at alone was a silent one: compare with the version before.

CREATE TABLE IF NOT EXISTS `simulation`.stock_history (
    sequence  bigint         NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at        datetime(6)    NOT NULL,
    operation varchar(8)     NOT NULL,
    stock_id  varchar(5)     NOT NULL,
    company   varchar(100)   NOT NULL,
    category  varchar(100)   NOT NULL,
    price     decimal(10, 2) NOT NULL,
    INDEX (stock_id, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `simulation`.user_history (
    sequence   bigint       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at         datetime(6)  NOT NULL,
    operation  varchar(8)   NOT NULL,
    user_id    int          NOT NULL,
    name       varchar(100) NOT NULL,
    email      varchar(100) NOT NULL,
    updated_at datetime     NULL DEFAULT NULL,
    status     varchar(1)   NULL,
    INDEX (user_id, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `simulation`.transaction_history (
    sequence         bigint      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at               datetime(6) NOT NULL,
    operation        varchar(8)  NOT NULL,
    transaction_id   int         NOT NULL,
    user_id          int         NULL,
    stock_id         varchar(5)  NOT NULL,
    quantity         int         NOT NULL,
    transaction_date datetime    NULL DEFAULT NULL,
    INDEX (transaction_id, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TRIGGER IF NOT EXISTS stock_inserted AFTER INSERT ON `stock` FOR EACH ROW
INSERT INTO `simulation`.stock_history (at, operation, stock_id, company, category, price)
VALUES (UTC_TIMESTAMP(6), 'inserted', NEW.stock_id, NEW.company, NEW.category, NEW.price);

CREATE TRIGGER IF NOT EXISTS stock_updated AFTER UPDATE ON `stock` FOR EACH ROW
INSERT INTO `simulation`.stock_history (at, operation, stock_id, company, category, price)
VALUES (UTC_TIMESTAMP(6), 'updated', NEW.stock_id, NEW.company, NEW.category, NEW.price);

CREATE TRIGGER IF NOT EXISTS stock_deleted AFTER DELETE ON `stock` FOR EACH ROW
INSERT INTO `simulation`.stock_history (at, operation, stock_id, company, category, price)
VALUES (UTC_TIMESTAMP(6), 'deleted', OLD.stock_id, OLD.company, OLD.category, OLD.price);

CREATE TRIGGER IF NOT EXISTS user_inserted AFTER INSERT ON `user` FOR EACH ROW
INSERT INTO `simulation`.user_history (at, operation, user_id, name, email, updated_at, status)
VALUES (UTC_TIMESTAMP(6), 'inserted', NEW.user_id, NEW.name, NEW.email, NEW.updated_at, NEW.status);

CREATE TRIGGER IF NOT EXISTS user_updated AFTER UPDATE ON `user` FOR EACH ROW
INSERT INTO `simulation`.user_history (at, operation, user_id, name, email, updated_at, status)
VALUES (UTC_TIMESTAMP(6), 'updated', NEW.user_id, NEW.name, NEW.email, NEW.updated_at, NEW.status);

CREATE TRIGGER IF NOT EXISTS user_deleted AFTER DELETE ON `user` FOR EACH ROW
INSERT INTO `simulation`.user_history (at, operation, user_id, name, email, updated_at, status)
VALUES (UTC_TIMESTAMP(6), 'deleted', OLD.user_id, OLD.name, OLD.email, OLD.updated_at, OLD.status);

CREATE TRIGGER IF NOT EXISTS transaction_inserted AFTER INSERT ON `transaction` FOR EACH ROW
INSERT INTO `simulation`.transaction_history (at, operation, transaction_id, user_id, stock_id, quantity, transaction_date)
VALUES (UTC_TIMESTAMP(6), 'inserted', NEW.transaction_id, NEW.user_id, NEW.stock_id, NEW.quantity, NEW.transaction_date);

CREATE TRIGGER IF NOT EXISTS transaction_updated AFTER UPDATE ON `transaction` FOR EACH ROW
INSERT INTO `simulation`.transaction_history (at, operation, transaction_id, user_id, stock_id, quantity, transaction_date)
VALUES (UTC_TIMESTAMP(6), 'updated', NEW.transaction_id, NEW.user_id, NEW.stock_id, NEW.quantity, NEW.transaction_date);

CREATE TRIGGER IF NOT EXISTS transaction_deleted AFTER DELETE ON `transaction` FOR EACH ROW
INSERT INTO `simulation`.transaction_history (at, operation, transaction_id, user_id, stock_id, quantity, transaction_date)
VALUES (UTC_TIMESTAMP(6), 'deleted', OLD.transaction_id, OLD.user_id, OLD.stock_id, OLD.quantity, OLD.transaction_date);
