-- The sites that this one is paired with. The authority is its certificate in DER, as hexadecimal digits.
CREATE TABLE peers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    address TEXT,
    authority TEXT NOT NULL,
    paired_at BIGINT NOT NULL,
    ended_at BIGINT,
    last_seen_at BIGINT,
    standing TEXT
);

-- Tokens that are out. Of the secret only a digest is kept; a token that was used is gone.
CREATE TABLE pairing_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    secret_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
