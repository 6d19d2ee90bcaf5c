-- Whether cloud and device hold the same. Frozen.

-- What all that is known of a project adds up to, and the highest row of it that a receipt told of.
CREATE TABLE engramd_digest (
    project  TEXT PRIMARY KEY,
    digest   TEXT NOT NULL,
    told_seq INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Entities whose row showed something else than what is known, when it was looked at last.
CREATE TABLE engramd_different (
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    PRIMARY KEY (project, entity, entity_key)
) WITHOUT ROWID;

-- What the versions add up to that a mirroring has passed.
ALTER TABLE engramd_remirror ADD COLUMN digest TEXT NOT NULL DEFAULT '00000000000000000000000000000000';
