-- When plans are drilled by themselves. `put_off` is why a drill that is due has not begun.
CREATE TABLE drill_schedules (
    plan TEXT NOT NULL PRIMARY KEY,
    schedule TEXT NOT NULL,
    zone TEXT NOT NULL,
    scheduled_at BIGINT NOT NULL,
    point TEXT NOT NULL,
    grace_hours BIGINT NOT NULL,
    jitter_seconds BIGINT NOT NULL,
    keep_reports BIGINT NOT NULL,
    last_run_at BIGINT,
    put_off TEXT
);

-- Drills that have ended, by the runs that they were. `report` is the report as `plan` keeps it; the columns beside it are there to
-- be looked for.
CREATE TABLE drills (
    run_id TEXT NOT NULL PRIMARY KEY,
    plan TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    report TEXT NOT NULL
);

CREATE INDEX drills_by_plan ON drills (plan, begun_at);
