-- Our indexes on shared tables, as the newest version has them, and what is said of one that is not ours: a Go program that
-- makes a table anew takes them with it.

CREATE INDEX IF NOT EXISTS engramd_mutations_pending ON sync_mutations(project, seq) WHERE acked_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_mutations_entity ON sync_mutations(project, entity, entity_key, seq);
CREATE INDEX IF NOT EXISTS engramd_sessions_project ON sessions(project, started_at DESC);
CREATE INDEX IF NOT EXISTS engramd_sessions_open ON sessions(project, started_at DESC) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_backfill_sessions ON sessions(project);
CREATE INDEX IF NOT EXISTS engramd_observations_topic ON observations(topic_key, scope)
    WHERE topic_key IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_observations_created ON observations(project, created_at DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS engramd_prompts_created ON user_prompts(project, created_at DESC);
CREATE INDEX IF NOT EXISTS engramd_tombstones_project ON prompt_tombstones(project);
CREATE INDEX IF NOT EXISTS engramd_relations_updated ON memory_relations(updated_at);

-- SQLite takes the Go program's index over a hash for no better than those over a few values, so that each of its saves
-- reads every memory of the scope. What is said of the index here, in a table of the size that SQLite takes for granted
-- where nothing is said, tells it, and changes no other plan.
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat)
    SELECT 'observations', 'idx_obs_dedupe', '1048576 2 2 2 2 1 1'
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_stat1 WHERE idx = 'idx_obs_dedupe');
ANALYZE sqlite_schema;
