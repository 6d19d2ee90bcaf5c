-- What stays of rows whose content was compacted: they are served to nobody, by the peer's server neither, so they stand in
-- a table of ours. Frozen: what changes is a new file.

CREATE TABLE engram_compacted (
    seq          bigint PRIMARY KEY,
    project      text NOT NULL,
    entity       text NOT NULL,
    entity_key   text NOT NULL,
    occurred_at  timestamptz NOT NULL,
    version_hash text,
    pushed_by    text,
    -- The version without its text; none of a row that made no version.
    version      text
);
CREATE INDEX engram_compacted_by_entity ON engram_compacted (project, entity, entity_key);

-- The same of a version that lost on arrival.
ALTER TABLE engram_superseded ADD COLUMN version text;
CREATE INDEX engram_superseded_with_text ON engram_superseded (occurred_at) WHERE payload IS NOT NULL;

-- The relations of a memory, whatever their project. No memory has a longer id.
CREATE INDEX engram_relations_by_source ON cloud_mutations ((payload ->> 'source_id'))
    WHERE entity = 'relation' AND octet_length(payload ->> 'source_id') <= 1024;
CREATE INDEX engram_relations_by_target ON cloud_mutations ((payload ->> 'target_id'))
    WHERE entity = 'relation' AND octet_length(payload ->> 'target_id') <= 1024;
