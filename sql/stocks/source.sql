-- The source of the pipeline `stocks` in MySQL: the three tables of a stock platform.
-- May be run again at any time. What does not belong here: the warehouse, the simulated clock.
--
-- `stock` has no timestamps: its changes are found by comparing snapshots. Of `user`, those that were there before the
-- column have updated_at NULL. `transaction` is only ever added to. Keys refer without ON DELETE: a stock or a user that
-- has traded is never deleted. Both stamps are the wall clock of the platform, UTC+7, without saying so.

CREATE TABLE IF NOT EXISTS `stock` (
    stock_id varchar(5)     NOT NULL PRIMARY KEY,
    company  varchar(100)   NOT NULL UNIQUE,
    category varchar(100)   NOT NULL,
    price    decimal(10, 2) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- status: I inserted, U updated.
CREATE TABLE IF NOT EXISTS `user` (
    user_id    int          NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name       varchar(100) NOT NULL,
    email      varchar(100) NOT NULL,
    updated_at datetime     NULL DEFAULT NULL,
    status     varchar(1)   NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS `transaction` (
    transaction_id   int        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id          int        NULL,
    stock_id         varchar(5) NOT NULL,
    quantity         int        NOT NULL,
    transaction_date datetime   NULL DEFAULT NULL,
    FOREIGN KEY (user_id) REFERENCES `user` (user_id),
    FOREIGN KEY (stock_id) REFERENCES `stock` (stock_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
