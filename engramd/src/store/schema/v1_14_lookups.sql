-- An index of the Go program's own finds what it looks up before it writes, and ours is not needed any more. Frozen.
--
-- Rows that come in touch a page of their own in each index over a hash. SQLite took its index for no better than those
-- over a few values; what is said of it here, of a table of the size that SQLite takes for granted where nothing is said,
-- tells it, and changes no other plan.

DROP INDEX IF EXISTS engramd_observations_hash;
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 (tbl, idx, stat)
    SELECT 'observations', 'idx_obs_dedupe', '1048576 2 2 2 2 1 1'
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_stat1 WHERE idx = 'idx_obs_dedupe');
ANALYZE sqlite_schema;
