-- Consistency groups of other sites' VMs, as their sources said last. `members` is a list of journals.
CREATE TABLE replica_groups (
    id TEXT NOT NULL PRIMARY KEY,
    peer_id TEXT NOT NULL,
    name TEXT NOT NULL,
    members TEXT NOT NULL,
    revision BIGINT NOT NULL
);
