-- Relations that came before an end of theirs: they are appended once more when it comes, whatever its project.
-- Frozen: what changes is a new file.

CREATE TABLE cloud_waiting_relations (
    observation TEXT NOT NULL,
    project     TEXT NOT NULL,
    entity_key  TEXT NOT NULL,
    PRIMARY KEY (observation, project, entity_key)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO cloud_waiting_relations (observation, project, entity_key)
SELECT ends.value, h.project, h.entity_key
FROM cloud_heads h
JOIN cloud_mutations m ON m.seq = h.seq
JOIN json_each(json_array(m.payload ->> 'source_id', m.payload ->> 'target_id')) ends
WHERE h.entity = 'relation' AND length(CAST(ends.value AS BLOB)) <= 1024
  AND NOT EXISTS (SELECT 1 FROM cloud_heads o WHERE o.project = h.project AND o.entity = 'observation'
                  AND o.entity_key = ends.value AND o.is_deleted = 0);
