-- Chunks: those that were pushed, and those that tell what came as mutations. Frozen: what changes is a new file.

CREATE TABLE cloud_chunks (
    project_name       TEXT NOT NULL,
    chunk_id           TEXT NOT NULL,
    created_by         TEXT NOT NULL,
    client_created_at  INTEGER,
    -- Grows within a project: the order in which its chunks are listed.
    created_at         INTEGER NOT NULL,
    sessions_count     INTEGER NOT NULL,
    observations_count INTEGER NOT NULL,
    prompts_count      INTEGER NOT NULL,
    is_listed          INTEGER NOT NULL,
    -- The very bytes that the id is the hash of.
    payload            TEXT NOT NULL,
    UNIQUE (project_name, chunk_id)
) STRICT;

CREATE INDEX cloud_chunks_by_time ON cloud_chunks (project_name, created_at);

-- Up to which row the listed chunks of a project tell its journal.
CREATE TABLE cloud_rails (
    project TEXT PRIMARY KEY,
    told_to INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
