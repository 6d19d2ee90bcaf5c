-- What is ours alone; the Go program passes over every name with this prefix. Frozen: a later version adds a file.

CREATE TABLE IF NOT EXISTS engramd_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Pull cursors; one belongs to a project and to one cloud (CUR-3).
CREATE TABLE engramd_cursor (
    project  TEXT NOT NULL,
    cloud_id TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    PRIMARY KEY (project, cloud_id)
) WITHOUT ROWID;

-- What was pulled or acknowledged of each entity, deletes for ever. `head` is the version without its text; `state`
-- says 0 live, 1 deleted softly, 2 gone; `session_id` stands only where state is 1.
CREATE TABLE engramd_version (
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    head       TEXT NOT NULL,
    state      INTEGER NOT NULL DEFAULT 0,
    session_id TEXT,
    PRIMARY KEY (project, entity, entity_key)
) WITHOUT ROWID;
CREATE INDEX engramd_version_soft ON engramd_version(project, session_id) WHERE state = 1;
CREATE INDEX engramd_version_deleted ON engramd_version(entity, entity_key) WHERE state > 0;

-- What the shared journal has no column for.
CREATE TABLE engramd_journal (
    seq               INTEGER PRIMARY KEY,
    base              TEXT,
    void              TEXT,
    cloud_seq         INTEGER,
    cloud_occurred_at TEXT
);

-- How far requests may have carried a project's journal.
CREATE TABLE engramd_carried (
    project TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL
) WITHOUT ROWID;

-- Rows set aside: ours that a server refused, received ones that wait for a parent or can never apply.
CREATE TABLE engramd_held (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    project     TEXT NOT NULL,
    entity      TEXT NOT NULL,
    entity_key  TEXT NOT NULL,
    op          TEXT NOT NULL,
    journal_seq INTEGER,
    cloud_seq   INTEGER,
    payload     TEXT NOT NULL,
    evidence    TEXT NOT NULL,
    waits_for   TEXT,
    since       TEXT NOT NULL
);
CREATE UNIQUE INDEX engramd_held_journal ON engramd_held(journal_seq) WHERE journal_seq IS NOT NULL;
CREATE INDEX engramd_held_waits ON engramd_held(waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX engramd_held_entity ON engramd_held(project, entity, entity_key);
CREATE INDEX engramd_held_kind ON engramd_held(project, kind, reason_code);

-- In which order the projects came in that hold one session id.
CREATE TABLE engramd_session (
    id      TEXT NOT NULL,
    project TEXT NOT NULL,
    arrival INTEGER NOT NULL,
    PRIMARY KEY (id, project)
) WITHOUT ROWID;

-- Session rows that nobody told us of, made so that a child has a parent.
CREATE TABLE engramd_standin (
    id      TEXT PRIMARY KEY,
    project TEXT NOT NULL
) WITHOUT ROWID;

-- The project of a relation's row, and the status it had before an end of it was deleted for good.
CREATE TABLE engramd_relation (
    sync_id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    status  TEXT
) WITHOUT ROWID;

-- What the user paused; the blank project stands for the whole daemon.
CREATE TABLE engramd_pause (
    project TEXT PRIMARY KEY,
    reason  TEXT,
    since   TEXT NOT NULL
) WITHOUT ROWID;

-- How far the first enrollment of a project has queued what was there before.
CREATE TABLE engramd_backfill (
    project TEXT PRIMARY KEY,
    stage   INTEGER NOT NULL,
    after   INTEGER NOT NULL
) WITHOUT ROWID;

-- Versions that lost a real conflict (CONV-6), each kept once.
CREATE TABLE engramd_conflict (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    hash       TEXT NOT NULL,
    op         TEXT NOT NULL,
    payload    TEXT NOT NULL,
    at         TEXT NOT NULL,
    UNIQUE (project, entity, entity_key, hash)
);

CREATE INDEX engramd_mutations_pending ON sync_mutations(project, seq) WHERE acked_at IS NULL;
CREATE INDEX engramd_mutations_entity ON sync_mutations(project, entity, entity_key, seq);
CREATE INDEX engramd_sessions_project ON sessions(project, started_at DESC);
CREATE INDEX engramd_sessions_open ON sessions(project, started_at DESC) WHERE ended_at IS NULL;
CREATE INDEX engramd_backfill_sessions ON sessions(project);
CREATE INDEX engramd_observations_hash ON observations(project, normalized_hash) WHERE deleted_at IS NULL;
CREATE INDEX engramd_observations_created ON observations(project, created_at DESC) WHERE deleted_at IS NULL;
CREATE INDEX engramd_prompts_created ON user_prompts(project, created_at DESC);
CREATE INDEX engramd_tombstones_project ON prompt_tombstones(project);
