-- The disks of a VM that still read from an image somewhere else, as a JSON list.
ALTER TABLE vms ADD COLUMN dependent_disks TEXT NOT NULL DEFAULT '[]';
