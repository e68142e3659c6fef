-- Where snapshots are copied to, or were: `place` is the id of a vault or of another site.
CREATE TABLE snapshot_copies (
    snapshot_id TEXT NOT NULL,
    place TEXT NOT NULL,
    place_kind TEXT NOT NULL,
    place_name TEXT NOT NULL,
    family TEXT NOT NULL,
    name TEXT NOT NULL,
    tags TEXT NOT NULL,
    transfer_id TEXT NOT NULL,
    base TEXT,
    rate_limit_bytes BIGINT,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    sent_bytes BIGINT NOT NULL,
    name_there TEXT,
    job_id TEXT,
    problem TEXT,
    PRIMARY KEY (snapshot_id, place)
);

CREATE INDEX snapshot_copies_by_state ON snapshot_copies (state, created_at);
CREATE INDEX snapshot_copies_by_place ON snapshot_copies (place, family);

-- Snapshots that other sites have sent; `source_id` is what the sender calls the snapshot.
CREATE TABLE received_snapshots (
    sender TEXT NOT NULL,
    transfer_id TEXT NOT NULL,
    source_id TEXT NOT NULL,
    snapshot_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (sender, transfer_id)
);

CREATE INDEX received_snapshots_by_source ON received_snapshots (sender, source_id, received_at);
