-- works with servers that know schema 4

-- Rotations of CAs and who has followed them, CRLs in shards, and the order in
-- which certificates were revoked.
--
-- A server of an earlier version must not work here: it would go on issuing from a CA
-- that was replaced, would sign a full CRL without what is in shards, and would
-- revoke without a line in changes. One that runs meanwhile goes on issuing until it
-- revokes or voids something: it is refused that, opens the database anew and says why.

ALTER TABLE certificates ADD COLUMN IF NOT EXISTS shard BIGINT NOT NULL DEFAULT 0;
-- What a CRL must hold, all of it: a million entries are read from the index alone.
DROP INDEX IF EXISTS certificates_crl;
CREATE INDEX IF NOT EXISTS certificates_shard ON certificates (issuer, shard, not_after, serial, revoked_at, reason, state) WHERE state IN ('revoked', 'void');
-- CA certificates of gateways, of which there are few: the row of a device does not
-- name its own.
CREATE INDEX IF NOT EXISTS certificates_gateway ON certificates (device, serial) WHERE purpose = 'gateway';

-- One row for each shard in the place of one for the issuer; 0 is the full CRL. The old
-- table is made anew, empty, if this was cut off after it had gone. Without it servers of
-- earlier versions sign no CRL with a number that was given out here.
CREATE TABLE IF NOT EXISTS crls (
    issuer       TEXT COLLATE "C" PRIMARY KEY,
    changes      BIGINT NOT NULL DEFAULT 0,
    taken_number BIGINT NOT NULL DEFAULT 0,
    taken        BIGINT NOT NULL DEFAULT 0,
    number       BIGINT NOT NULL DEFAULT 0,
    shown        BIGINT NOT NULL DEFAULT 0,
    this_update  BIGINT NOT NULL DEFAULT 0,
    next_update  BIGINT NOT NULL DEFAULT 0,
    der          BYTEA
);
CREATE TABLE IF NOT EXISTS shard_crls (
    issuer       TEXT COLLATE "C" NOT NULL,
    shard        BIGINT NOT NULL,
    changes      BIGINT NOT NULL DEFAULT 0,
    taken_number BIGINT NOT NULL DEFAULT 0,
    taken        BIGINT NOT NULL DEFAULT 0,
    number       BIGINT NOT NULL DEFAULT 0,
    shown        BIGINT NOT NULL DEFAULT 0,
    this_update  BIGINT NOT NULL DEFAULT 0,
    next_update  BIGINT NOT NULL DEFAULT 0,
    der          BYTEA,
    PRIMARY KEY (issuer, shard)
);
INSERT INTO shard_crls (issuer, shard, changes, taken_number, taken, number, shown, this_update, next_update, der)
    SELECT issuer, 0, changes, taken_number, taken, number, shown, this_update, next_update, der FROM crls
    ON CONFLICT (issuer, shard) DO NOTHING;
DROP TABLE crls;

-- Serial numbers in the order in which they were revoked or voided. The number of the
-- last one is the counter of that name, which is raised last in a transaction.
CREATE TABLE IF NOT EXISTS changes (
    number BIGINT PRIMARY KEY,
    serial BYTEA NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);

-- canary, twins and signatures are JSON. Each version has one line in the journal, of
-- the same number.
CREATE TABLE IF NOT EXISTS rotations (
    id         TEXT COLLATE "C" PRIMARY KEY,
    kind       TEXT COLLATE "C" NOT NULL,
    old_ca     TEXT COLLATE "C" NOT NULL,
    new_ca     TEXT COLLATE "C" NOT NULL,
    emergency  BIGINT NOT NULL,
    plan       BYTEA NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    since      BIGINT NOT NULL,
    paused     TEXT NOT NULL,
    issue      TEXT COLLATE "C" NOT NULL,
    canary     TEXT NOT NULL,
    twins      TEXT NOT NULL,
    kept       BIGINT NOT NULL,
    signatures TEXT NOT NULL,
    at         BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    version    BIGINT NOT NULL,
    ended      BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS rotation_journal (
    rotation TEXT COLLATE "C" NOT NULL,
    number   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    state    TEXT COLLATE "C" NOT NULL,
    step     TEXT NOT NULL,
    event    TEXT COLLATE "C" NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (rotation, number)
);
CREATE TABLE IF NOT EXISTS anchors (
    rotation  TEXT COLLATE "C" NOT NULL,
    device    TEXT COLLATE "C" NOT NULL,
    trusts    BIGINT NOT NULL,
    how       TEXT COLLATE "C" NOT NULL,
    chains    BIGINT NOT NULL,
    waived    BIGINT NOT NULL,
    waived_by TEXT NOT NULL,
    why       TEXT NOT NULL,
    PRIMARY KEY (rotation, device)
);

CREATE INDEX IF NOT EXISTS outbox_task ON outbox (task_key) WHERE task_key <> '';
