-- Every version of an entity, for what a Go program sends without a mutation id. Frozen: what changes is a new file.

CREATE INDEX engram_mutations_by_entity ON cloud_mutations (project, entity, entity_key)
    WHERE octet_length(entity_key) <= 1024 AND octet_length(entity) <= 128;
