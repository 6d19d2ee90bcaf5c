-- What stays of rows whose content was compacted: they are served to nobody, so they stand in a table of their own. Frozen:
-- what changes is a new file.

CREATE TABLE cloud_compacted (
    seq          INTEGER PRIMARY KEY,
    project      TEXT NOT NULL,
    entity       TEXT NOT NULL,
    entity_key   TEXT NOT NULL,
    occurred_at  INTEGER NOT NULL,
    version_hash TEXT NOT NULL,
    pushed_by    TEXT NOT NULL,
    -- The version without its text.
    version      TEXT
) STRICT;
CREATE INDEX cloud_compacted_by_entity ON cloud_compacted (project, entity, entity_key);

-- The same of a version that lost on arrival.
ALTER TABLE cloud_superseded ADD COLUMN version TEXT;
CREATE INDEX cloud_superseded_with_text ON cloud_superseded (occurred_at) WHERE payload IS NOT NULL;

-- The relations of a memory, whatever their project.
CREATE INDEX cloud_relations_by_source ON cloud_mutations (payload ->> 'source_id') WHERE entity = 'relation';
CREATE INDEX cloud_relations_by_target ON cloud_mutations (payload ->> 'target_id') WHERE entity = 'relation';
