-- How the VMs that replicas become are to be at this site, as far as somebody here has said so. `settings` is a document.
CREATE TABLE replica_settings (
    journal_id TEXT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL
);
