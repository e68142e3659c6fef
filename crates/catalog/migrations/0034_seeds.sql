-- What the bases of a replica are to begin with, and what became of that: documents. `outcome` is NULL until it is decided.
CREATE TABLE replica_seeds (
    journal_id TEXT NOT NULL PRIMARY KEY REFERENCES replicas (journal_id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    outcome TEXT
);

-- What somebody has named at the source for that.
CREATE TABLE seed_wishes (
    journal_id TEXT NOT NULL PRIMARY KEY REFERENCES replications (journal_id) ON DELETE CASCADE,
    reference TEXT NOT NULL
);
