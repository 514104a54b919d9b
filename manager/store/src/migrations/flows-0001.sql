-- What left sandboxes, and what was refused. A row never changes.
-- Times are microseconds since 1970.
CREATE TABLE flows (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    time        INTEGER NOT NULL,
    principal   TEXT NOT NULL,
    identity    TEXT NOT NULL,
    profile     TEXT NOT NULL,
    sandbox     TEXT NOT NULL,
    task        INTEGER,
    query       TEXT,
    kind        TEXT NOT NULL CHECK (kind IN ('connection', 'name')),
    name        TEXT,
    address     TEXT,
    port        INTEGER CHECK (port IS NULL OR port BETWEEN 0 AND 65535),
    rule        TEXT,
    mode        TEXT NOT NULL CHECK (mode IN ('enforce', 'dry-run', 'off')),
    verdict     TEXT NOT NULL
        CHECK (verdict IN ('allowed', 'would_be_denied', 'denied', 'failed')),
    words       TEXT NOT NULL,
    sent        INTEGER NOT NULL,
    received    INTEGER NOT NULL,
    duration_us INTEGER NOT NULL
) STRICT;
-- Lists are in the order of time; an index ends in the row's number by itself.
CREATE INDEX flows_by_time ON flows (time);
CREATE INDEX flows_by_principal ON flows (principal, time);
CREATE INDEX flows_by_profile ON flows (profile, time);
CREATE INDEX flows_by_sandbox ON flows (sandbox, time);

-- Where rows are missing that nobody removed.
CREATE TABLE gaps (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    rows   INTEGER,
    cause  TEXT NOT NULL CHECK (cause IN ('overflow', 'not_written', 'unattended', 'killed'))
) STRICT;
CREATE INDEX gaps_by_time ON gaps (last);

-- Whether somebody writes. Who finds it so at a start knows that the last one was killed.
CREATE TABLE writer (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    open INTEGER NOT NULL CHECK (open IN (0, 1))
) STRICT;
INSERT INTO writer (one, open) VALUES (1, 0);
