-- Whether a disk is being uploaded: its bytes are not all there, and it is no disk yet.
ALTER TABLE disks ADD COLUMN uploading BIGINT NOT NULL DEFAULT 0;

-- The blocks of such disks that are durable, each with the BLAKE3 digest of its bytes in hexadecimal digits.
CREATE TABLE upload_blocks (
    disk_id TEXT NOT NULL REFERENCES disks (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (disk_id, number)
);
