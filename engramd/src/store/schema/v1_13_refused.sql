-- Files of a place that were read and cannot be used, each in the state in which it was then. Frozen.
CREATE TABLE engramd_refused (
    place  INTEGER NOT NULL,
    id     TEXT NOT NULL,
    stamp  TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (place, id)
) WITHOUT ROWID;
