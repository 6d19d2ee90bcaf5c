-- Relations that came before an end of theirs: they are appended once more when it comes, whatever its project.
-- Frozen: what changes is a new file.

CREATE TABLE engram_waiting_relations (
    observation text NOT NULL,
    project     text NOT NULL,
    entity_key  text NOT NULL,
    PRIMARY KEY (observation, project, entity_key)
);

INSERT INTO engram_waiting_relations (observation, project, entity_key)
SELECT ends.observation, h.project, h.entity_key
FROM engram_heads h
JOIN cloud_mutations m ON m.seq = h.seq
CROSS JOIN LATERAL (VALUES (m.payload ->> 'source_id'), (m.payload ->> 'target_id')) AS ends (observation)
WHERE h.entity = 'relation' AND octet_length(ends.observation) <= 1024
  AND NOT EXISTS (SELECT 1 FROM engram_heads o WHERE o.project = h.project AND o.entity = 'observation'
                  AND o.entity_key = ends.observation AND NOT o.is_deleted)
ON CONFLICT DO NOTHING;
