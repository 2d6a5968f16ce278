-- works with servers that know schema 3

-- What waits for approval, one-time secrets of devices, changes of roots.
--
-- A server of an earlier version takes no approval and no secret, but it must not
-- work here all the same. It voids intents of others, at its start, with a device that
-- is held and a work order that is killed, and would not give back what they have
-- taken. It revokes the certificate of a registration authority without voiding
-- what that has asked for, which could then still be issued. And to it the CA
-- certificate of a gateway is the device's newest one, and a clone's.

-- state is pending, approved or rejected; an approval with a serial number is
-- taken. changed_at rises with each change, whatever the clocks say.
CREATE TABLE enrollments (
    id             TEXT PRIMARY KEY,
    spki           BLOB NOT NULL,
    subject        TEXT NOT NULL,
    label          TEXT NOT NULL,
    profile        TEXT NOT NULL,
    purpose        TEXT NOT NULL,
    device         TEXT NOT NULL,
    cause          TEXT NOT NULL,
    other          BLOB,
    requester_kind TEXT NOT NULL,
    requester      TEXT NOT NULL,
    address        TEXT NOT NULL,
    csr            BLOB,
    state          TEXT NOT NULL,
    at             INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    decided_at     INTEGER NOT NULL,
    decided_by     TEXT NOT NULL,
    note           TEXT NOT NULL,
    changed_at     INTEGER NOT NULL,
    serial         BLOB
);
-- A subject may be longer than what an index holds; a key has few entries.
CREATE INDEX enrollments_spki ON enrollments (spki, id);
CREATE INDEX enrollments_state ON enrollments (state, id) WHERE serial IS NULL;
CREATE INDEX enrollments_issued ON enrollments (id) WHERE serial IS NOT NULL;
CREATE INDEX enrollments_device ON enrollments (device, id) WHERE device <> '';
CREATE INDEX enrollments_label ON enrollments (label, id);
CREATE INDEX enrollments_waiting ON enrollments (expires_at) WHERE state = 'pending';
CREATE INDEX enrollments_asker ON enrollments (device, requester_kind, requester, expires_at) WHERE state = 'pending';
CREATE INDEX enrollments_over ON enrollments (expires_at, id);
-- What a void serial number gives back.
CREATE INDEX enrollments_serial ON enrollments (serial) WHERE serial IS NOT NULL;

-- sha256 is NULL once the secret was dropped: at still says which came last.
CREATE TABLE device_secrets (
    device     TEXT PRIMARY KEY,
    sha256     BLOB,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    serial     BLOB
) WITHOUT ROWID;
CREATE INDEX device_secrets_serial ON device_secrets (serial) WHERE serial IS NOT NULL;
CREATE INDEX device_secrets_over ON device_secrets (expires_at, device);

CREATE TABLE rollovers (
    old_root     TEXT NOT NULL,
    new_root     TEXT NOT NULL,
    old_with_new BLOB,
    new_with_old BLOB,
    at           INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    ended_at     INTEGER NOT NULL,
    ended_by     TEXT NOT NULL,
    changed_at   INTEGER NOT NULL,
    PRIMARY KEY (old_root, new_root)
) WITHOUT ROWID;
