-- What the bridges of a peer are at this site. A document.
ALTER TABLE peers ADD COLUMN networks TEXT;
