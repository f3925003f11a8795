-- +goose Up
CREATE TABLE documents (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT, -- order of insertion
    kind  TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    rev   INTEGER NOT NULL CHECK (rev > 0),
    owner TEXT    NOT NULL,
    state TEXT    NOT NULL,
    nonce BLOB    NOT NULL CHECK (length(nonce) = 12),
    body  BLOB    NOT NULL,                  -- SM4-GCM of the JSON body; kind, id, rev, owner and state are bound to it
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX documents_owner ON documents (kind, owner, seq);
CREATE INDEX documents_state ON documents (kind, state, seq);

CREATE TABLE nonces (
    identity TEXT    NOT NULL,
    nonce    TEXT    NOT NULL,
    expires  INTEGER NOT NULL, -- seconds since 1970-01-01 UTC
    PRIMARY KEY (identity, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_expires ON nonces (expires);

CREATE TABLE counters (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL CHECK (value >= 0),
    mac   BLOB    NOT NULL CHECK (length(mac) = 32) -- HMAC-SM3 over name and value
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE counters;
DROP TABLE nonces;
DROP TABLE documents;
