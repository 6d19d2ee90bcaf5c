-- Chunk files (chunks.md): what is in which chunk, which chunks lie where, and up to where a place was looked at. Frozen.

-- A chunk is named by the hash of its uncompressed bytes; `state` says 0 being read, 1 read, 2 applied here too.
CREATE TABLE engramd_chunk (
    chunk INTEGER PRIMARY KEY,
    hash  TEXT NOT NULL UNIQUE,
    state INTEGER NOT NULL DEFAULT 0
);

-- Which version of which entity is in which chunk; `version` is a number made of the version.
CREATE TABLE engramd_exported (
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    version    INTEGER NOT NULL,
    chunk      INTEGER NOT NULL,
    PRIMARY KEY (project, entity, entity_key, version, chunk)
) WITHOUT ROWID;
CREATE INDEX engramd_exported_chunk ON engramd_exported(chunk);

-- Directories that hold chunks, by their path.
CREATE TABLE engramd_place (
    place INTEGER PRIMARY KEY,
    path  TEXT NOT NULL UNIQUE
);

-- The files that were read there: the id is the file's name, and short ones collide.
CREATE TABLE engramd_place_chunk (
    place INTEGER NOT NULL,
    id    TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    PRIMARY KEY (place, id)
) WITHOUT ROWID;

-- Up to which row of each list a project was exported there.
CREATE TABLE engramd_place_mark (
    place   INTEGER NOT NULL,
    project TEXT NOT NULL,
    list    TEXT NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (place, project, list)
) WITHOUT ROWID;

-- What is to be looked at again there: it changed without a new row in any list, or a chunk that held it is gone.
CREATE TABLE engramd_due (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    place      INTEGER NOT NULL,
    project    TEXT NOT NULL,
    entity     TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    UNIQUE (place, project, entity, entity_key)
);

-- Memories that a chunk brought as deleted softly: they have no row here, and keep their session all the same.
CREATE TABLE engramd_softly (
    project    TEXT NOT NULL,
    session_id TEXT NOT NULL,
    entity_key TEXT NOT NULL,
    PRIMARY KEY (project, session_id, entity_key)
) WITHOUT ROWID;
CREATE INDEX engramd_softly_key ON engramd_softly(entity_key);

CREATE INDEX engramd_relations_updated ON memory_relations(updated_at);
