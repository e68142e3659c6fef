-- How often what was written since is copied, in seconds; null where every write is taken.
ALTER TABLE replications ADD COLUMN interval_seconds BIGINT;
