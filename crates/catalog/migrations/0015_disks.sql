-- Disks that have a name of their own on the site. What one still reads from is as in vms.dependent_disks, and NULL when it is whole.
CREATE TABLE disks (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL UNIQUE,
    size_bytes BIGINT NOT NULL,
    source TEXT NOT NULL,
    dependent TEXT,
    failure TEXT,
    created_at BIGINT NOT NULL
);
