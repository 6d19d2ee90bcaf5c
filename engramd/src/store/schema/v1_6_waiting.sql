-- Held rows in any number: counted as they come and go, and released a few at a time. Frozen.

CREATE TABLE engramd_held_count (
    project     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    held        INTEGER NOT NULL,
    PRIMARY KEY (project, kind, reason_code)
) WITHOUT ROWID;
INSERT INTO engramd_held_count
    SELECT project, kind, reason_code, count(*) FROM engramd_held GROUP BY project, kind, reason_code;

-- Parents that came for more children than one transaction takes; the held rows up to `through` were looked at.
CREATE TABLE engramd_arrived (
    parent  TEXT PRIMARY KEY,
    through INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX engramd_held_parent ON engramd_held(project, waits_for) WHERE kind = 'deferred';
