-- Sandboxes, their tasks, and the ids that users were given.
-- Times are microseconds since 1970. `number` is the order of creation, and the
-- cursor of lists.
CREATE TABLE sandboxes (
    number              INTEGER PRIMARY KEY AUTOINCREMENT,
    id                  TEXT NOT NULL UNIQUE,
    owner               TEXT NOT NULL,
    identity            TEXT NOT NULL,
    uid                 INTEGER NOT NULL CHECK (uid BETWEEN 0 AND 4294967294),
    gid                 INTEGER NOT NULL CHECK (gid BETWEEN 0 AND 4294967294),
    profile             TEXT NOT NULL,
    trust_key           TEXT NOT NULL,
    trust_parts         TEXT NOT NULL CHECK (json_valid(trust_parts)),
    policy              TEXT NOT NULL,
    policy_text         TEXT NOT NULL,
    preset              TEXT NOT NULL,
    image               TEXT NOT NULL,
    launcher_generation INTEGER NOT NULL,
    boot_id             TEXT NOT NULL,
    kind                TEXT NOT NULL CHECK (kind IN ('udf', 'interactive', 'kernel', 'batch')),
    survive             INTEGER NOT NULL CHECK (survive IN (0, 1)),
    labels              TEXT NOT NULL CHECK (json_valid(labels)),
    created             INTEGER NOT NULL,
    last_used           INTEGER NOT NULL,
    ended               INTEGER,
    state               TEXT NOT NULL
        CHECK (state IN ('creating', 'live', 'frozen', 'ended', 'failed', 'lost')),
    verdict             TEXT CHECK (verdict IS NULL OR json_valid(verdict)),
    receipt             TEXT CHECK (receipt IS NULL OR json_valid(receipt)),
    CHECK ((ended IS NOT NULL) = (state IN ('ended', 'failed', 'lost')))
) STRICT;
CREATE INDEX sandboxes_by_owner ON sandboxes (owner, number);
CREATE INDEX sandboxes_by_profile ON sandboxes (profile, number);
CREATE INDEX sandboxes_live ON sandboxes (number) WHERE ended IS NULL;
CREATE INDEX sandboxes_ended ON sandboxes (ended) WHERE ended IS NOT NULL;

CREATE TABLE tasks (
    sandbox          INTEGER NOT NULL REFERENCES sandboxes (number) ON DELETE CASCADE,
    number           INTEGER NOT NULL CHECK (number > 0),
    arguments_digest TEXT NOT NULL,
    arguments        TEXT,
    kind             TEXT NOT NULL,
    tty              INTEGER NOT NULL CHECK (tty IN (0, 1)),
    state            TEXT NOT NULL CHECK (state IN ('running', 'ended', 'lost')),
    spool            TEXT,
    started          INTEGER NOT NULL,
    ended            INTEGER,
    verdict          TEXT CHECK (verdict IS NULL OR json_valid(verdict)),
    usage            TEXT CHECK (usage IS NULL OR json_valid(usage)),
    PRIMARY KEY (sandbox, number),
    CHECK ((ended IS NOT NULL) = (state <> 'running'))
) STRICT, WITHOUT ROWID;

-- An id that a user had once is never another user's: files on disk belong to it.
CREATE TABLE managed_ids (
    user     TEXT NOT NULL PRIMARY KEY,
    uid      INTEGER NOT NULL UNIQUE CHECK (uid BETWEEN 1 AND 4294967294),
    assigned INTEGER NOT NULL
) STRICT;
CREATE TRIGGER managed_ids_stay BEFORE DELETE ON managed_ids
BEGIN SELECT RAISE(ABORT, 'a managed id is never given up'); END;
CREATE TRIGGER managed_ids_do_not_move BEFORE UPDATE ON managed_ids
BEGIN SELECT RAISE(ABORT, 'a managed id never changes'); END;
