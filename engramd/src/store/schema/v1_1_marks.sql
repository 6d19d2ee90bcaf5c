-- Marks for what was pulled before there were any: one for each known entity, and for each stand-in. Frozen.

INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, acked_at, project)
    SELECT 'cloud', v.entity, v.entity_key, iif(v.entity = 'relation', 'upsert', 'delete'), '{}', 'local',
        '1970-01-01 00:00:00', '1970-01-01 00:00:00', v.project
    FROM (SELECT entity, entity_key, project FROM engramd_version
          UNION SELECT 'session', id, project FROM engramd_standin) AS v
    WHERE NOT EXISTS (SELECT 1 FROM sync_mutations AS m
        WHERE m.target_key = 'cloud' AND m.entity = v.entity AND m.entity_key = v.entity_key AND m.source = 'local'
            AND m.op = iif(v.entity = 'relation', 'upsert', 'delete'));

INSERT INTO engramd_journal (seq, void)
    SELECT seq, 'mark' FROM sync_mutations
    WHERE payload = '{}' AND acked_at = '1970-01-01 00:00:00' AND occurred_at = '1970-01-01 00:00:00';
