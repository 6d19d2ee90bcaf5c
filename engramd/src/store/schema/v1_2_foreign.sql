-- Of a row that a Go process wrote: whether it takes the time of a version that comes in with its winner's fields. Frozen.

ALTER TABLE engramd_journal ADD COLUMN takes_time INTEGER NOT NULL DEFAULT 0;

-- A store that was ours before holds no row of others that is not known as such.
INSERT INTO engramd_meta (key, value)
    SELECT 'taken_up_seq', (SELECT coalesce(max(seq), 0) FROM sync_mutations)
    FROM engramd_meta WHERE key = 'device_id';
