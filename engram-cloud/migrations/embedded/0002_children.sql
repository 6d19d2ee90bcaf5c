-- What keeps a session alive, found without a scan. Frozen: what changes is a new file.

CREATE INDEX cloud_heads_children ON cloud_heads (project, session_id) WHERE session_id IS NOT NULL;
