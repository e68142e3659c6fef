-- A restore that overwrites the VM's disks and has not finished, as JSON.
ALTER TABLE vms ADD COLUMN half_restored TEXT;
