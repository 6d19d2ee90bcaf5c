-- Our indexes on shared tables, as the newest version has them: a Go program that makes a table anew takes them with it.

CREATE INDEX IF NOT EXISTS engramd_mutations_pending ON sync_mutations(project, seq) WHERE acked_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_mutations_entity ON sync_mutations(project, entity, entity_key, seq);
CREATE INDEX IF NOT EXISTS engramd_sessions_project ON sessions(project, started_at DESC);
CREATE INDEX IF NOT EXISTS engramd_sessions_open ON sessions(project, started_at DESC) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_backfill_sessions ON sessions(project);
CREATE INDEX IF NOT EXISTS engramd_observations_hash ON observations(normalized_hash, scope, type, project)
    WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_observations_topic ON observations(topic_key, scope)
    WHERE topic_key IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_observations_created ON observations(project, created_at DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_prompts_created ON user_prompts(project, created_at DESC);
CREATE INDEX IF NOT EXISTS engramd_tombstones_project ON prompt_tombstones(project);
CREATE INDEX IF NOT EXISTS engramd_relations_updated ON memory_relations(updated_at);
