-- Where a vault is copied to, and how the last attempts went.
CREATE TABLE vault_copies (
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    last_synced_at BIGINT,
    failed_at BIGINT,
    failure_count BIGINT NOT NULL,
    problem TEXT,
    PRIMARY KEY (vault_id, name)
);

-- When each pack of a vault was last read back and found sound. A pack that is not here was never read.
CREATE TABLE pack_checks (
    vault_id TEXT NOT NULL REFERENCES vaults (id) ON DELETE CASCADE,
    pack TEXT NOT NULL,
    checked_at BIGINT NOT NULL,
    PRIMARY KEY (vault_id, pack)
);
