-- A record shop in the manner of Chinook: what Millrace was not made for, in one database of MySQL.
-- Its timestamp is set by the server.
CREATE TABLE Artist (
    ArtistId smallint unsigned AUTO_INCREMENT PRIMARY KEY, Name varchar(120) CHARACTER SET utf8mb4,
    last_update timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
);
INSERT INTO Artist (Name) SELECT CONCAT('Björk ', seq) FROM seq_1_to_150;

-- A key of two columns, and a timestamp that the application sets.
CREATE TABLE PlaylistTrack (
    PlaylistId int, TrackId int, Position int, modified_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (PlaylistId, TrackId)
);
INSERT INTO PlaylistTrack (PlaylistId, TrackId, Position) SELECT 1 + seq % 5, seq, seq FROM seq_1_to_250;

-- Numbers of every size, years, sets, JSON, binary; no timestamp.
CREATE TABLE InvoiceLine (
    InvoiceLineId bigint unsigned PRIMARY KEY, UnitPrice decimal(10, 2) NOT NULL, paid tinyint(1), born year,
    kind enum('album', 'track'), options set('gift', 'express'), details json, picture blob, bits bit(9), took time(3),
    weight double
);
INSERT INTO InvoiceLine SELECT seq, seq * 0.99, seq % 2, 1990 + seq % 30, 'track', IF(seq % 2, 'gift,express', ''),
    JSON_OBJECT('n', seq, 'tags', JSON_ARRAY('a', NULL)), UNHEX(LPAD(HEX(seq), 8, '0')), seq % 512,
    SEC_TO_TIME(seq * 61.125), seq / 7 FROM seq_1_to_120;

-- A unique key in place of a primary one; a geometric type, which has no text; dates that MySQL calls zero stay out.
CREATE TABLE Store (store_id tinyint NOT NULL, spot geometry, opened_on date, UNIQUE (store_id));
INSERT INTO Store SELECT seq, POINT(seq, 2), '2020-02-29' FROM seq_1_to_20;

-- Partitioned, and the column of the partitions belongs to the key.
CREATE TABLE Invoice (InvoiceId int, paid_on date NOT NULL, Total decimal(12, 4), PRIMARY KEY (InvoiceId, paid_on))
    PARTITION BY RANGE COLUMNS (paid_on) (
        PARTITION until_2025 VALUES LESS THAN ('2026-01-01'), PARTITION later VALUES LESS THAN (MAXVALUE));
INSERT INTO Invoice SELECT seq, DATE_ADD('2025-10-01', INTERVAL seq DAY), seq + 0.1234 FROM seq_1_to_200;

-- No key at all, and rows that are equal.
CREATE TABLE Visit (at datetime, page varchar(100));
INSERT INTO Visit SELECT TIMESTAMP('2026-01-01 10:00:00') + INTERVAL seq % 20 SECOND, CONCAT('/', seq % 5)
    FROM seq_1_to_120;

-- Never filled; words of SQL as names.
CREATE TABLE `order` (id char(36) PRIMARY KEY, `select` mediumint unsigned, `group by` text);

CREATE VIEW artist_list AS SELECT ArtistId, Name FROM Artist;
