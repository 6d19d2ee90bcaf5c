-- The journal beside the tables of a peer's cloud database. Frozen: what changes is a new file.
-- Tables and columns that the peer has keep their names and meaning; everything of ours is additive, so that a
-- deployment may be switched over and back. The schema is the connection's.

CREATE TABLE IF NOT EXISTS cloud_mutations (
    seq         bigserial PRIMARY KEY,
    project     text NOT NULL,
    entity      text NOT NULL,
    entity_key  text NOT NULL,
    op          text NOT NULL,
    payload     jsonb NOT NULL DEFAULT '{}'::jsonb,
    occurred_at timestamptz NOT NULL DEFAULT now()
);

-- Ours. A row without a hash was written by the peer.
ALTER TABLE cloud_mutations
    ADD COLUMN IF NOT EXISTS version_hash  text,
    ADD COLUMN IF NOT EXISTS pushed_by     text,
    ADD COLUMN IF NOT EXISTS payload_bytes integer;

-- Pages of a project, in the order of its numbers.
CREATE INDEX IF NOT EXISTS engram_mutations_by_project ON cloud_mutations (project, seq);

-- Entities of newer programs do not merge: what was said last of one, and whether something was said before.
CREATE INDEX IF NOT EXISTS engram_mutations_foreign ON cloud_mutations (project, entity, entity_key, seq)
    WHERE version_hash IS NOT NULL AND entity NOT IN ('session', 'observation', 'prompt', 'relation');

-- What the peer wrote: by entity, and in the order in which it is taken over. No push names a longer key.
CREATE INDEX IF NOT EXISTS engram_mutations_of_peer ON cloud_mutations (project, entity, entity_key, seq)
    WHERE version_hash IS NULL AND octet_length(entity_key) <= 1024 AND octet_length(entity) <= 128;
CREATE INDEX IF NOT EXISTS engram_mutations_to_take_over ON cloud_mutations (seq) WHERE version_hash IS NULL;

CREATE TABLE IF NOT EXISTS cloud_project_controls (
    project       text PRIMARY KEY,
    sync_enabled  boolean NOT NULL DEFAULT true,
    paused_reason text,
    updated_by    text,
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE engram_meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- Where the join of all versions of an entity stands in the journal.
CREATE TABLE engram_heads (
    project    text NOT NULL,
    entity     text NOT NULL,
    entity_key text NOT NULL,
    seq        bigint NOT NULL,
    session_id text,
    is_deleted boolean NOT NULL,
    PRIMARY KEY (project, entity, entity_key)
);

-- The prompts that go when their session is deleted.
CREATE INDEX engram_heads_live_prompts ON engram_heads (project, session_id, entity_key)
    WHERE entity = 'prompt' AND NOT is_deleted;

-- What keeps a session alive.
CREATE INDEX engram_heads_children ON engram_heads (project, session_id) WHERE session_id IS NOT NULL;

-- A name is a name within its project: nobody takes one away from another project (SCOPE-2).
CREATE TABLE engram_mutation_ids (
    project       text NOT NULL,
    mutation_id   text NOT NULL,
    seq           bigint NOT NULL,
    is_superseded boolean NOT NULL,
    PRIMARY KEY (project, mutation_id)
);

-- Versions that lost on arrival: recorded once, never served. The text is left out where engram_conflicts keeps it.
CREATE TABLE engram_superseded (
    project     text NOT NULL,
    entity      text NOT NULL,
    entity_key  text NOT NULL,
    digest      text NOT NULL,
    op          text NOT NULL,
    payload     jsonb,
    base        text,
    lost_to_seq bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    pushed_by   text NOT NULL,
    PRIMARY KEY (project, entity, entity_key, digest)
);

-- Versions that lost to one that had not seen them (CONV-6).
CREATE TABLE engram_conflicts (
    id          bigserial PRIMARY KEY,
    project     text NOT NULL,
    entity      text NOT NULL,
    entity_key  text NOT NULL,
    digest      text NOT NULL,
    op          text NOT NULL,
    payload     jsonb NOT NULL,
    base        text NOT NULL,
    winner_seq  bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    pushed_by   text NOT NULL,
    UNIQUE (project, entity, entity_key, digest)
);
