-- Chunks: those that were pushed, and those that tell what came as mutations. Frozen: what changes is a new file.
-- The tables are the peer's; its chunks stay, are listed and served.

CREATE TABLE IF NOT EXISTS cloud_chunks (
    project_name       text NOT NULL DEFAULT 'default',
    chunk_id           text NOT NULL,
    created_by         text NOT NULL,
    client_created_at  timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    payload            jsonb NOT NULL,
    sessions_count     integer NOT NULL DEFAULT 0,
    observations_count integer NOT NULL DEFAULT 0,
    prompts_count      integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS cloud_chunks_project_chunk_uidx ON cloud_chunks (project_name, chunk_id);

CREATE TABLE IF NOT EXISTS cloud_project_sessions (
    project_name text NOT NULL,
    session_id   text NOT NULL,
    indexed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_name, session_id)
);

-- Ours. A chunk without a hash was written by the peer.
ALTER TABLE cloud_chunks
    ADD COLUMN IF NOT EXISTS engram_listed boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS engram_hash   text;

-- The order in which chunks are listed, and that in which the peer's are taken over.
CREATE INDEX IF NOT EXISTS engram_chunks_by_time ON cloud_chunks (project_name, created_at, chunk_id);
CREATE INDEX IF NOT EXISTS engram_chunks_to_take_over ON cloud_chunks (created_at, project_name, chunk_id)
    WHERE engram_hash IS NULL AND created_by NOT IN ('mutation-push', 'mutation-backfill');

-- Up to which row the listed chunks of a project tell its journal.
CREATE TABLE engram_rails (
    project text PRIMARY KEY,
    told_to bigint NOT NULL
);

-- What the peer numbered until now, its own chunks tell.
INSERT INTO engram_meta (name, value)
SELECT 'peer_told_to', coalesce(max(seq), 0)::text FROM cloud_mutations WHERE version_hash IS NULL;
