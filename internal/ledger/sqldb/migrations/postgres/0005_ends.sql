-- works with servers that know schema 4

-- What ends when, in that order, and what is no device's, for lists of a ledger of millions.

DROP INDEX IF EXISTS certificates_expiry;
CREATE INDEX IF NOT EXISTS certificates_end ON certificates (not_after, serial);
CREATE INDEX IF NOT EXISTS certificates_purpose ON certificates (purpose, serial) WHERE purpose <> 'device';
