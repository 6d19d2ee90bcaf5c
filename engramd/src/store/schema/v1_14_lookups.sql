-- An index of the Go program's own finds what ours found: lookups.sql tells SQLite so. Rows that come in touch a page of
-- their own in each index over a hash. Frozen.

DROP INDEX IF EXISTS engramd_observations_hash;
