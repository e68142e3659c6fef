-- Plans are kept at several sites. A version is known by its number and by the site that wrote it, so that two sites which change a
-- plan at the same time lose nothing. `origin` is empty for what was written here.
CREATE TABLE plan_versions (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    origin TEXT NOT NULL,
    text TEXT NOT NULL,
    format TEXT NOT NULL,
    primary_site TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- The plan was forgotten; its text is empty.
    is_deleted SMALLINT NOT NULL,
    -- What it runs on this host, somebody here has agreed to.
    is_accepted SMALLINT NOT NULL,
    PRIMARY KEY (name, version, origin)
);

INSERT INTO plan_versions (name, version, origin, text, format, primary_site, created_at, is_deleted, is_accepted)
    SELECT name, version, '', text, format, primary_site, created_at, 0, 1 FROM plans;

DROP TABLE plans;

ALTER TABLE plan_versions RENAME TO plans;

-- What other sites have of them: `content` is the digest of what was kept there last.
CREATE TABLE plan_deliveries (
    plan TEXT NOT NULL,
    peer_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    content TEXT NOT NULL,
    -- Why the newest is not kept there.
    problem TEXT,
    PRIMARY KEY (plan, peer_id)
);

-- The site that a runbook came from, with a plan that names it; none where it was written here.
ALTER TABLE runbooks ADD COLUMN origin TEXT;
ALTER TABLE runbooks ADD COLUMN is_accepted SMALLINT NOT NULL DEFAULT 1;
