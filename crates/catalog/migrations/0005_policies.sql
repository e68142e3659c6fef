-- When backups run by themselves, and which of their points stay.
CREATE TABLE policies (
    name TEXT NOT NULL PRIMARY KEY,
    schedule TEXT NOT NULL,
    zone TEXT NOT NULL,
    scheduled_at BIGINT NOT NULL,
    retention TEXT,
    shortened_at BIGINT NOT NULL,
    grace_hours BIGINT NOT NULL,
    jitter_seconds BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Which protected VM follows which policy, and its last run.
CREATE TABLE policy_members (
    vm_id TEXT NOT NULL PRIMARY KEY REFERENCES protections (vm_id) ON DELETE CASCADE,
    policy TEXT NOT NULL REFERENCES policies (name),
    joined_at BIGINT NOT NULL,
    last_run_at BIGINT,
    last_job TEXT,
    skipped TEXT
);

-- The recovery points that policies made, which alone they may delete. One that is not here is somebody's own.
CREATE TABLE policy_points (
    point_id TEXT NOT NULL PRIMARY KEY,
    vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE
);

CREATE INDEX policy_points_by_vm ON policy_points (vm_id);
