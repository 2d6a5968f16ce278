-- works with servers that know schema 4

-- Rotations of CAs and who has followed them, CRLs in shards, and the order in
-- which certificates were revoked.
--
-- A server of an earlier version must not work here: it would go on issuing from a CA
-- that was replaced, would sign a full CRL without what is in shards, and would
-- revoke without a line in changes.

ALTER TABLE certificates ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
-- What a CRL must hold, all of it: a million entries are read from the index alone.
DROP INDEX certificates_crl;
CREATE INDEX certificates_shard ON certificates (issuer, shard, not_after, serial, revoked_at, reason, state) WHERE state IN ('revoked', 'void');
-- CA certificates of gateways, of which there are few: the row of a device does not
-- name its own.
CREATE INDEX certificates_gateway ON certificates (device, serial) WHERE purpose = 'gateway';

-- One row for each shard in the place of one for the issuer; 0 is the full CRL.
CREATE TABLE shard_crls (
    issuer       TEXT NOT NULL,
    shard        INTEGER NOT NULL,
    changes      INTEGER NOT NULL DEFAULT 0,
    taken_number INTEGER NOT NULL DEFAULT 0,
    taken        INTEGER NOT NULL DEFAULT 0,
    number       INTEGER NOT NULL DEFAULT 0,
    shown        INTEGER NOT NULL DEFAULT 0,
    this_update  INTEGER NOT NULL DEFAULT 0,
    next_update  INTEGER NOT NULL DEFAULT 0,
    der          BLOB,
    PRIMARY KEY (issuer, shard)
);
INSERT INTO shard_crls (issuer, shard, changes, taken_number, taken, number, shown, this_update, next_update, der)
    SELECT issuer, 0, changes, taken_number, taken, number, shown, this_update, next_update, der FROM crls;
DROP TABLE crls;

-- Serial numbers in the order in which they were revoked or voided. The number of the
-- last one is the counter of that name, which is raised last in a transaction.
CREATE TABLE changes (
    number INTEGER PRIMARY KEY,
    serial BLOB NOT NULL
);
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- canary, twins and signatures are JSON. Each version has one line in the journal, of
-- the same number.
CREATE TABLE rotations (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    old_ca     TEXT NOT NULL,
    new_ca     TEXT NOT NULL,
    emergency  INTEGER NOT NULL,
    plan       BLOB NOT NULL,
    state      TEXT NOT NULL,
    since      INTEGER NOT NULL,
    paused     TEXT NOT NULL,
    issue      TEXT NOT NULL,
    canary     TEXT NOT NULL,
    twins      TEXT NOT NULL,
    kept       INTEGER NOT NULL,
    signatures TEXT NOT NULL,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    ended      INTEGER NOT NULL
);
CREATE TABLE rotation_journal (
    rotation TEXT NOT NULL,
    number   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    state    TEXT NOT NULL,
    step     TEXT NOT NULL,
    event    TEXT NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (rotation, number)
) WITHOUT ROWID;
CREATE TABLE anchors (
    rotation  TEXT NOT NULL,
    device    TEXT NOT NULL,
    trusts    INTEGER NOT NULL,
    how       TEXT NOT NULL,
    chains    INTEGER NOT NULL,
    waived    INTEGER NOT NULL,
    waived_by TEXT NOT NULL,
    why       TEXT NOT NULL,
    PRIMARY KEY (rotation, device)
) WITHOUT ROWID;

CREATE INDEX outbox_task ON outbox (task_key) WHERE task_key <> '';
