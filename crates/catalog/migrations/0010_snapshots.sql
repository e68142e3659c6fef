-- Managed snapshots. What they hold is in the snapshot store; `family` is the VM's id, or stands for an image file.
CREATE TABLE snapshots (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    family TEXT NOT NULL,
    family_name TEXT NOT NULL,
    source TEXT NOT NULL,
    disk TEXT,
    state TEXT NOT NULL,
    capture_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    taken_at BIGINT,
    ready_at BIGINT,
    consistency TEXT,
    disks TEXT NOT NULL,
    tags TEXT NOT NULL,
    locked_until BIGINT,
    deleted_at BIGINT,
    purge_after BIGINT,
    job_id TEXT,
    problem TEXT
);

CREATE UNIQUE INDEX snapshots_by_living_name ON snapshots (name) WHERE state IN ('waiting', 'copying', 'ready');
CREATE INDEX snapshots_by_name ON snapshots (name);
CREATE INDEX snapshots_by_time ON snapshots (created_at, id) WHERE state <> 'deleted';
CREATE INDEX snapshots_by_family ON snapshots (family, created_at, id) WHERE state <> 'deleted';
CREATE INDEX deleted_snapshots_by_time ON snapshots (created_at, id) WHERE state = 'deleted';
CREATE INDEX deleted_snapshots_by_family ON snapshots (family, created_at, id) WHERE state = 'deleted';
CREATE INDEX stored_snapshots_by_family ON snapshots (family, taken_at, id) WHERE state IN ('ready', 'deleted');
CREATE INDEX snapshots_by_family_name ON snapshots (family_name, created_at);
CREATE INDEX unfinished_snapshots ON snapshots (created_at, id) WHERE state IN ('waiting', 'copying');
