-- Projects to be read to the head before anything of them is pushed, because a Go process synced the store; `mark` tells
-- one such time from the next. Frozen.

CREATE TABLE engramd_reread (
    project TEXT PRIMARY KEY,
    mark    INTEGER NOT NULL
) WITHOUT ROWID;

-- What a Go process wrote beside us without a project belongs to its session's.
UPDATE observations SET project = (SELECT s.project FROM sessions AS s WHERE s.id = session_id)
    WHERE (project IS NULL OR project = '')
        AND EXISTS (SELECT 1 FROM sessions AS s WHERE s.id = session_id AND s.project <> '');
UPDATE user_prompts SET project = (SELECT s.project FROM sessions AS s WHERE s.id = session_id)
    WHERE (project IS NULL OR project = '')
        AND EXISTS (SELECT 1 FROM sessions AS s WHERE s.id = session_id AND s.project <> '');
