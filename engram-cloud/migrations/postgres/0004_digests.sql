-- What the current versions of each project add up to, by which devices prove that they agree. Frozen: what changes is a
-- new file. A digest is a number below 2^128.

CREATE TABLE engram_digests (
    project text PRIMARY KEY,
    digest  numeric(39) NOT NULL
);
