-- What the current versions of each project add up to, by which devices prove that they agree. Frozen: what changes is a
-- new file. A digest is 16 bytes, the most significant first.

CREATE TABLE cloud_digests (
    project TEXT PRIMARY KEY,
    digest  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
