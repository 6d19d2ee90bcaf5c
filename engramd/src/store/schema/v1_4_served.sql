-- What a server that merges nothing served, and of which entities its last row is to be looked at; all of it belongs to
-- one cloud, like a cursor (CUR-3). Frozen.

-- How far a project was when it was first read to the head: what comes behind it is judged for conflicts.
ALTER TABLE engramd_cursor ADD COLUMN first_head INTEGER;

-- Every version of an entity that was served, once and without its text: when it came first, and where it stands last.
-- `version` is blank for what cannot be read; `session_id` stands only with prompts; `judged` says that it was looked at for
-- conflicts.
CREATE TABLE engramd_served (
    cloud_id   TEXT NOT NULL,
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    op         TEXT NOT NULL,
    version    TEXT NOT NULL,
    session_id TEXT,
    first_seq  INTEGER NOT NULL,
    first_at   TEXT NOT NULL,
    last_seq   INTEGER NOT NULL,
    judged     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (cloud_id, project, entity, entity_key, op, version)
) WITHOUT ROWID;
CREATE INDEX engramd_served_session ON engramd_served(cloud_id, project, session_id) WHERE session_id IS NOT NULL;

-- Entities whose last row may show other than what is known here. `accepted` is the last number that the server gave a
-- row of ours and has not served yet; a suspect was seen to differ once.
CREATE TABLE engramd_look (
    cloud_id   TEXT NOT NULL,
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    accepted   INTEGER,
    suspect    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (cloud_id, project, entity, entity_key)
) WITHOUT ROWID;
