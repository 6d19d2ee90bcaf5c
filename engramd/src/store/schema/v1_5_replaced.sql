-- Other clouds, and clouds that lost rows (CUR-3). Frozen.

-- Projects that were synced with another cloud than the one that answers now.
CREATE TABLE engramd_home (
    project  TEXT PRIMARY KEY,
    cloud_id TEXT NOT NULL,
    since    TEXT NOT NULL
) WITHOUT ROWID;

-- Projects whose current versions are due to be queued anew, and how far that has come.
CREATE TABLE engramd_remirror (
    project TEXT PRIMARY KEY,
    stage   INTEGER NOT NULL DEFAULT 0,
    after   TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
