-- How far a project was ever read from a cloud, whatever its cursor says since: what comes behind it is news. Frozen.
CREATE TABLE engramd_read (
    project  TEXT NOT NULL,
    cloud_id TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    PRIMARY KEY (project, cloud_id)
) WITHOUT ROWID;
INSERT INTO engramd_read SELECT project, cloud_id, seq FROM engramd_cursor;
