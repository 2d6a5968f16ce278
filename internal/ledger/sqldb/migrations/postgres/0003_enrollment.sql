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
CREATE TABLE IF NOT EXISTS enrollments (
    id             TEXT COLLATE "C" PRIMARY KEY,
    spki           BYTEA NOT NULL,
    subject        TEXT COLLATE "C" NOT NULL,
    label          TEXT COLLATE "C" NOT NULL,
    profile        TEXT COLLATE "C" NOT NULL,
    purpose        TEXT COLLATE "C" NOT NULL,
    device         TEXT COLLATE "C" NOT NULL,
    cause          TEXT COLLATE "C" NOT NULL,
    other          BYTEA,
    requester_kind TEXT COLLATE "C" NOT NULL,
    requester      TEXT COLLATE "C" NOT NULL,
    address        TEXT COLLATE "C" NOT NULL,
    csr            BYTEA,
    state          TEXT COLLATE "C" NOT NULL,
    at             BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    decided_at     BIGINT NOT NULL,
    decided_by     TEXT NOT NULL,
    note           TEXT NOT NULL,
    changed_at     BIGINT NOT NULL,
    serial         BYTEA
);
-- A subject may be longer than what an index holds; a key has few entries.
CREATE INDEX IF NOT EXISTS enrollments_spki ON enrollments (spki, id);
CREATE INDEX IF NOT EXISTS enrollments_state ON enrollments (state, id) WHERE serial IS NULL;
CREATE INDEX IF NOT EXISTS enrollments_issued ON enrollments (id) WHERE serial IS NOT NULL;
CREATE INDEX IF NOT EXISTS enrollments_device ON enrollments (device, id) WHERE device <> '';
CREATE INDEX IF NOT EXISTS enrollments_label ON enrollments (label, id);
CREATE INDEX IF NOT EXISTS enrollments_waiting ON enrollments (expires_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS enrollments_asker ON enrollments (device, requester_kind, requester, expires_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS enrollments_over ON enrollments (expires_at, id);
-- What a void serial number gives back.
CREATE INDEX IF NOT EXISTS enrollments_serial ON enrollments (serial) WHERE serial IS NOT NULL;

-- sha256 is NULL once the secret was dropped: at still says which came last.
CREATE TABLE IF NOT EXISTS device_secrets (
    device     TEXT COLLATE "C" PRIMARY KEY,
    sha256     BYTEA,
    at         BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    serial     BYTEA
);
CREATE INDEX IF NOT EXISTS device_secrets_serial ON device_secrets (serial) WHERE serial IS NOT NULL;
CREATE INDEX IF NOT EXISTS device_secrets_over ON device_secrets (expires_at, device);

CREATE TABLE IF NOT EXISTS rollovers (
    old_root     TEXT COLLATE "C" NOT NULL,
    new_root     TEXT COLLATE "C" NOT NULL,
    old_with_new BYTEA,
    new_with_old BYTEA,
    at           BIGINT NOT NULL,
    actor        TEXT NOT NULL,
    ended_at     BIGINT NOT NULL,
    ended_by     TEXT NOT NULL,
    changed_at   BIGINT NOT NULL,
    PRIMARY KEY (old_root, new_root)
);
