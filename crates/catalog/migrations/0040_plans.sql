-- Recovery plans: each version of each, as somebody wrote it. The newest is the plan. `primary_site` is where its VMs are at home.
CREATE TABLE plans (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    text TEXT NOT NULL,
    format TEXT NOT NULL,
    primary_site TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);

-- Runs of them, which outlive them. `document` is the run as `plan` keeps it; the columns beside it are there to be looked for.
CREATE TABLE plan_runs (
    id TEXT NOT NULL PRIMARY KEY,
    plan TEXT NOT NULL,
    standing TEXT NOT NULL,
    is_over SMALLINT NOT NULL,
    -- The job that carries it out, or did so last.
    job_id TEXT,
    begun_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    document TEXT NOT NULL
);

CREATE INDEX plan_runs_by_plan ON plan_runs (plan, begun_at);
