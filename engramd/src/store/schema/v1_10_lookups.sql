-- What the Go program looks up before it writes is found by an index. Frozen.
--
-- It compares projects in a form that no index of its own serves, and so reads every row of the scope in each save, in a
-- transaction that fails where anybody commits meanwhile.

DROP INDEX IF EXISTS engramd_observations_hash;
CREATE INDEX engramd_observations_hash ON observations(normalized_hash, scope, type, project) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_observations_topic ON observations(topic_key, scope)
    WHERE topic_key IS NOT NULL AND deleted_at IS NULL;
