-- Whether a version that a chunk holds is a delete: it tells nobody the memory, so that no relation can follow it. Frozen.

ALTER TABLE engramd_exported ADD COLUMN deletes INTEGER NOT NULL DEFAULT 0;

-- What is deleted and was told once was most likely told as deleted. Where it was not, its relations wait until it is
-- restored; the other way round they would keep a chunk out of a Go process's store.
UPDATE engramd_exported SET deletes = 1
WHERE entity = 'observation'
    AND entity_key IN (SELECT sync_id FROM observations WHERE deleted_at IS NOT NULL
        UNION SELECT entity_key FROM engramd_softly)
    AND NOT EXISTS (SELECT 1 FROM engramd_exported AS o
        WHERE o.project = engramd_exported.project AND o.entity = 'observation'
            AND o.entity_key = engramd_exported.entity_key AND o.version <> engramd_exported.version);
