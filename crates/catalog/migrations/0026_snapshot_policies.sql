-- The policy that made a snapshot; none where somebody asked for it. Policies delete no other snapshots.
ALTER TABLE snapshots ADD COLUMN policy TEXT;

CREATE INDEX snapshots_by_policy ON snapshots (family, state, created_at) WHERE policy IS NOT NULL;
