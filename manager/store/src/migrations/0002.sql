-- Variables, secrets, revoked delegations, and requests that may come again.
CREATE TABLE variables (
    scope   TEXT NOT NULL CHECK (scope IN ('profile', 'project', 'user')),
    owner   TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (scope, owner, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    scope      TEXT NOT NULL CHECK (scope IN ('profile', 'project', 'user')),
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL UNIQUE,
    recipient  TEXT NOT NULL,
    ciphertext BLOB NOT NULL,
    updated    INTEGER NOT NULL,
    PRIMARY KEY (scope, owner, name)
) STRICT;
CREATE INDEX secrets_by_recipient ON secrets (recipient);

-- The last version that any secret had. A secret that is removed and set again
-- has a new version, so that no two values share a digest of names and versions.
CREATE TABLE secret_version (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO secret_version (one, last) VALUES (1, 0);

CREATE TABLE revoked_delegations (
    id      TEXT NOT NULL PRIMARY KEY,
    revoked INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_by_expiry ON revoked_delegations (expires);

-- Scoped by principal: nobody learns of another's requests.
CREATE TABLE requests (
    principal TEXT NOT NULL,
    request   TEXT NOT NULL,
    digest    TEXT NOT NULL,
    sandbox   TEXT NOT NULL,
    created   INTEGER NOT NULL,
    PRIMARY KEY (principal, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_age ON requests (created);
