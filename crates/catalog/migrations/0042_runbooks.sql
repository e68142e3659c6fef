-- Actions with names and parameters, which plans use.
CREATE TABLE runbooks (
    name TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
