-- What lies where is found by chunk, and a place that nobody touched is known by its stamp. Frozen.

-- What the client makes of the times of manifest and directory; it stands for a state in which every chunk there was
-- applied and listed.
ALTER TABLE engramd_place ADD COLUMN stamp TEXT;

CREATE INDEX engramd_place_chunk_chunk ON engramd_place_chunk(chunk, place);
CREATE INDEX engramd_chunk_unread ON engramd_chunk(chunk) WHERE state < 2;
