-- works with servers that know schema 1

-- Times are microseconds since 1970 in UTC, 0 for none. Serial numbers are
-- stored as bytes, which sort like their hexadecimal text.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE certificates (
    serial         BLOB PRIMARY KEY,
    issuer         TEXT NOT NULL,
    profile        TEXT NOT NULL,
    label          TEXT NOT NULL,
    purpose        TEXT NOT NULL,
    device         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    requester_kind TEXT NOT NULL,
    requester      TEXT NOT NULL,
    address        TEXT NOT NULL,
    spki           BLOB NOT NULL,
    not_before     INTEGER NOT NULL,
    not_after      INTEGER NOT NULL,
    state          TEXT NOT NULL,
    intent_at      INTEGER NOT NULL,
    issued_at      INTEGER NOT NULL DEFAULT 0,
    revoked_at     INTEGER NOT NULL DEFAULT 0,
    reason         INTEGER NOT NULL DEFAULT 0,
    revoked_by     TEXT NOT NULL DEFAULT '',
    epoch_server   TEXT NOT NULL,
    epoch_number   INTEGER NOT NULL,
    tbs            BLOB,
    der            BLOB
);

-- The checks of an intent: certificates of the device that have not expired.
CREATE INDEX certificates_device ON certificates (device, not_after) WHERE device <> '';
CREATE INDEX certificates_spki ON certificates (spki);
CREATE INDEX certificates_requester ON certificates (requester, serial);
CREATE INDEX certificates_profile ON certificates (profile, serial);
CREATE INDEX certificates_issuer ON certificates (issuer, serial);
-- In the order of serial numbers, so that a walk to those that expire soon
-- reads no rows of others.
CREATE INDEX certificates_expiry ON certificates (serial, not_after);
-- Open intents, of which there are few, and what is not in force any more.
CREATE INDEX certificates_state ON certificates (state, serial) WHERE state <> 'valid';
-- What a CRL must hold.
CREATE INDEX certificates_crl ON certificates (issuer, not_after) WHERE state IN ('revoked', 'void');

CREATE TABLE devices (
    id             TEXT PRIMARY KEY,
    first_seen     INTEGER NOT NULL,
    last_issued    INTEGER NOT NULL,
    certificates   INTEGER NOT NULL,
    current_serial BLOB
) WITHOUT ROWID;

-- One row a server: only its newest epoch can be in force.
CREATE TABLE epochs (
    server     TEXT PRIMARY KEY,
    number     INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE authorities (
    name        TEXT PRIMARY KEY,
    certificate BLOB,
    chain       TEXT NOT NULL,
    key_uri     TEXT NOT NULL,
    created_at  INTEGER NOT NULL
);

-- changes counts the issuer's revocations and voidings; taken is that count
-- when taken_number was given out, shown is the count in the stored CRL.
CREATE TABLE crls (
    issuer       TEXT PRIMARY KEY,
    changes      INTEGER NOT NULL DEFAULT 0,
    taken_number INTEGER NOT NULL DEFAULT 0,
    taken        INTEGER NOT NULL DEFAULT 0,
    number       INTEGER NOT NULL DEFAULT 0,
    shown        INTEGER NOT NULL DEFAULT 0,
    this_update  INTEGER NOT NULL DEFAULT 0,
    next_update  INTEGER NOT NULL DEFAULT 0,
    der          BLOB
);

CREATE TABLE leases (
    job     TEXT PRIMARY KEY,
    holder  TEXT NOT NULL,
    token   INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Identifiers are never used twice: Done for a task that was replaced must not
-- remove the one that took its place.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    task_key TEXT NOT NULL,
    payload  BLOB,
    due      INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_err TEXT NOT NULL DEFAULT ''
);
CREATE INDEX outbox_due ON outbox (kind, due, id);
CREATE INDEX outbox_key ON outbox (kind, task_key) WHERE task_key <> '';
