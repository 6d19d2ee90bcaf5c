-- The journal and the current version of every entity, for one SQLite file. Frozen: what changes is a new file.
-- Tables that a peer's cloud database also has keep its names; times are microseconds since the Unix epoch.

CREATE TABLE cloud_meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Append-only, in the order in which rows became visible (CUR-2). Compaction may clear a payload, nothing else.
CREATE TABLE cloud_mutations (
    seq          INTEGER PRIMARY KEY,
    project      TEXT NOT NULL,
    entity       TEXT NOT NULL,
    entity_key   TEXT NOT NULL,
    op           TEXT NOT NULL,
    payload      TEXT,
    occurred_at  INTEGER NOT NULL,
    version_hash TEXT NOT NULL,
    pushed_by    TEXT NOT NULL
) STRICT;

-- Ordered by seq within a project: SQLite appends the row's number to every index entry.
CREATE INDEX cloud_mutations_by_project ON cloud_mutations (project);

-- Entities of newer programs do not merge: what was said last of one, and whether something was said before.
CREATE INDEX cloud_mutations_foreign ON cloud_mutations (project, entity, entity_key)
    WHERE entity NOT IN ('session', 'observation', 'prompt', 'relation');
CREATE INDEX cloud_mutations_foreign_hash ON cloud_mutations (project, entity, entity_key, version_hash)
    WHERE entity NOT IN ('session', 'observation', 'prompt', 'relation');

-- Where the join of all versions of an entity stands in the journal.
CREATE TABLE cloud_heads (
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    session_id TEXT,
    is_deleted INTEGER NOT NULL,
    PRIMARY KEY (project, entity, entity_key)
) STRICT, WITHOUT ROWID;

-- The prompts that go when their session is deleted.
CREATE INDEX cloud_heads_live_prompts ON cloud_heads (project, session_id)
    WHERE entity = 'prompt' AND is_deleted = 0;

-- A name is a name within its project: nobody takes one away from another project (SCOPE-2).
CREATE TABLE cloud_mutation_ids (
    project       TEXT NOT NULL,
    mutation_id   TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    is_superseded INTEGER NOT NULL,
    PRIMARY KEY (project, mutation_id)
) STRICT, WITHOUT ROWID;

-- Versions that lost on arrival: recorded once, never served. The text is left out where cloud_conflicts keeps it.
CREATE TABLE cloud_superseded (
    project      TEXT NOT NULL,
    entity       TEXT NOT NULL,
    entity_key   TEXT NOT NULL,
    digest       TEXT NOT NULL,
    op           TEXT NOT NULL,
    payload      TEXT,
    base         TEXT,
    lost_to_seq  INTEGER NOT NULL,
    occurred_at  INTEGER NOT NULL,
    pushed_by    TEXT NOT NULL,
    PRIMARY KEY (project, entity, entity_key, digest)
) STRICT, WITHOUT ROWID;

-- Versions that lost to one that had not seen them (CONV-6).
CREATE TABLE cloud_conflicts (
    id           INTEGER PRIMARY KEY,
    project      TEXT NOT NULL,
    entity       TEXT NOT NULL,
    entity_key   TEXT NOT NULL,
    digest       TEXT NOT NULL,
    op           TEXT NOT NULL,
    payload      TEXT NOT NULL,
    base         TEXT NOT NULL,
    winner_seq   INTEGER NOT NULL,
    occurred_at  INTEGER NOT NULL,
    pushed_by    TEXT NOT NULL,
    UNIQUE (project, entity, entity_key, digest)
) STRICT;

CREATE TABLE cloud_project_controls (
    project       TEXT PRIMARY KEY,
    sync_enabled  INTEGER NOT NULL DEFAULT 1,
    paused_reason TEXT,
    updated_by    TEXT NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
