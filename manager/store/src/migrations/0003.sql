-- What is asked for after a sandbox's end: how its tasks ended, what was enforced
-- for each, and which volumes it had.
ALTER TABLE sandboxes ADD COLUMN volumes TEXT NOT NULL DEFAULT '[]'
    CHECK (json_valid(volumes));
ALTER TABLE tasks ADD COLUMN program TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN exit_code INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN receipt TEXT CHECK (receipt IS NULL OR json_valid(receipt));
-- Lists of ended sandboxes are in the order of identifiers, as lists of live ones.
CREATE INDEX sandboxes_of_owner ON sandboxes (owner, id);
CREATE INDEX tasks_ended ON tasks (ended) WHERE ended IS NOT NULL;
