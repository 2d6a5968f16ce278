-- works with servers that know schema 5

-- What ends when, in that order, and what is no device's, for lists of a ledger of millions.
--
-- A server of an earlier version names the index that goes here.

DROP INDEX certificates_expiry;
CREATE INDEX certificates_end ON certificates (not_after, serial);
CREATE INDEX certificates_purpose ON certificates (purpose, serial) WHERE purpose <> 'device';
