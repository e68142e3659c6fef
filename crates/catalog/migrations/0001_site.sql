-- Column types are those that SQLite and PostgreSQL both have: TEXT for ids, names and JSON, BIGINT for times in
-- microseconds since 1970 and for sizes in bytes, SMALLINT for truth.

CREATE TABLE vms (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL,
    last_seen TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE vaults (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE protections (
    vm_id TEXT NOT NULL PRIMARY KEY REFERENCES vms (id) ON DELETE CASCADE,
    vault_id TEXT NOT NULL REFERENCES vaults (id),
    consistency TEXT NOT NULL,
    strict SMALLINT NOT NULL,
    freeze_limit_ms BIGINT NOT NULL,
    read_limit_bytes_per_second BIGINT,
    pre_script TEXT,
    post_script TEXT
);

-- A job outlives its VM and its vault, so it refers to neither.
CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    vm_id TEXT,
    vault_id TEXT,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    phase TEXT NOT NULL,
    done_bytes BIGINT NOT NULL,
    total_bytes BIGINT,
    result TEXT,
    problem TEXT,
    warnings TEXT NOT NULL
);

CREATE INDEX jobs_by_time ON jobs (created_at, id);
CREATE INDEX jobs_by_state ON jobs (state);
