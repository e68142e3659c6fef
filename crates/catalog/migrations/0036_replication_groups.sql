-- Consistency groups of VMs that are replicated from here. `members` is a list of VMs; `revision` grows whenever it or the
-- name changes; shared checkpoints up to `numbers_through` may have been made.
CREATE TABLE replication_groups (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    peer_id TEXT NOT NULL,
    peer_name TEXT NOT NULL,
    members TEXT NOT NULL,
    every_ms BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    numbers_through BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
