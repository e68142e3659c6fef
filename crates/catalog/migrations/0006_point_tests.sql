-- How each recovery point did when it was last booted in isolation.
CREATE TABLE point_tests (
    point_id TEXT NOT NULL PRIMARY KEY,
    tested_at BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    boot_ms BIGINT,
    detail TEXT NOT NULL,
    screenshot TEXT
);
