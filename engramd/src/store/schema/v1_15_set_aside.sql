-- What of chunks is not in the tables is known by its chunk: rows that were set aside, and chunks of a server that could
-- not be read. Frozen.

-- In which chunks the held rows are that came in chunks.
CREATE TABLE engramd_held_chunk (
    chunk INTEGER NOT NULL,
    held  INTEGER NOT NULL,
    PRIMARY KEY (chunk, held)
) WITHOUT ROWID;
CREATE INDEX engramd_held_chunk_held ON engramd_held_chunk(held);

-- Chunks that a cloud lists for a project and that were read to the end, or given up.
CREATE TABLE engramd_cloud_chunk (
    cloud_id TEXT NOT NULL,
    project  TEXT NOT NULL,
    id       TEXT NOT NULL,
    PRIMARY KEY (cloud_id, project, id)
) WITHOUT ROWID;

-- How many of a list were read told nothing of those that were passed over: they are looked at once more.
DELETE FROM engramd_meta WHERE key LIKE 'chunks:%';
