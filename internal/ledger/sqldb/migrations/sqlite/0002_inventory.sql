-- works with servers that know schema 1

-- Inventory, work orders, refusals, people and what they agree on.

ALTER TABLE certificates ADD COLUMN order_id TEXT NOT NULL DEFAULT '';
CREATE INDEX certificates_order ON certificates (order_id, serial) WHERE order_id <> '';

-- A device is here once it has a certificate or a list names it. What the list
-- says counts while its import is in force; held is empty, 'held' or 'retired'.
ALTER TABLE devices ADD COLUMN import_id TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN import_row INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN order_id TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN product TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN spki BLOB;
ALTER TABLE devices ADD COLUMN fields TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN held TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN changed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN note TEXT NOT NULL DEFAULT '';
CREATE INDEX devices_import ON devices (import_id, id) WHERE import_id <> '';
CREATE INDEX devices_order ON devices (order_id, id) WHERE order_id <> '';
CREATE INDEX devices_product ON devices (product, id) WHERE product <> '';
CREATE INDEX devices_expected ON devices (held, id) WHERE certificates = 0;
CREATE INDEX devices_enrolled ON devices (held, id) WHERE certificates > 0;
CREATE INDEX devices_held ON devices (held, id) WHERE held <> '';

-- The values of the fields of devices, for searches by their beginning. They
-- are kept in runs: what a large list brings is sorted first and appended as
-- runs of its own, since values come in no order and to insert a million of them
-- into one index would write a page for each. Run 0 is for the rest.
CREATE TABLE field_runs (
    run       INTEGER PRIMARY KEY AUTOINCREMENT,
    import_id TEXT NOT NULL
);
CREATE INDEX field_runs_import ON field_runs (import_id, run);
INSERT INTO field_runs (run, import_id) VALUES (0, '');
CREATE TABLE device_fields (
    run    INTEGER NOT NULL,
    value  TEXT NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (run, value, device)
) WITHOUT ROWID;

-- state is open, committing, committed, dropping or dropped; committed_at is 0 unless the
-- import is in force. indexed is 1 once its fields may be in device_fields,
-- unmerged is 1 while rows of listings are left of it.
CREATE TABLE imports (
    id           TEXT PRIMARY KEY,
    file         TEXT NOT NULL,
    actor        TEXT NOT NULL,
    at           INTEGER NOT NULL,
    updates      INTEGER NOT NULL,
    server       TEXT NOT NULL,
    state        TEXT NOT NULL,
    devices      INTEGER NOT NULL DEFAULT 0,
    added        INTEGER NOT NULL DEFAULT 0,
    changed      INTEGER NOT NULL DEFAULT 0,
    indexed      INTEGER NOT NULL DEFAULT 0,
    unmerged     INTEGER NOT NULL DEFAULT 0,
    committed_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Rows of imports that are not in force about devices that are listed already.
-- known is 1 if the row says what is listed, 0 if it is to be merged.
CREATE TABLE listings (
    device     TEXT PRIMARY KEY,
    import_id  TEXT NOT NULL,
    import_row INTEGER NOT NULL,
    known      INTEGER NOT NULL,
    order_id   TEXT NOT NULL DEFAULT '',
    product    TEXT NOT NULL DEFAULT '',
    spki       BLOB,
    fields     TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX listings_import ON listings (import_id, known, device);

-- taken counts the open intents and certificates for devices under the order.
-- ranges and networks are JSON.
CREATE TABLE orders (
    id         TEXT PRIMARY KEY,
    product    TEXT NOT NULL,
    profile    TEXT NOT NULL,
    label      TEXT NOT NULL,
    station    TEXT NOT NULL,
    quantity   INTEGER NOT NULL,
    ranges     TEXT NOT NULL,
    listed     INTEGER NOT NULL,
    networks   TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL,
    secret     BLOB,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL DEFAULT 0,
    changed_by TEXT NOT NULL DEFAULT '',
    taken      INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX orders_state ON orders (state, id);
CREATE INDEX orders_product ON orders (product, id);
CREATE INDEX orders_station ON orders (station, id);

CREATE TABLE refusals (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    server         TEXT NOT NULL,
    operation      TEXT NOT NULL,
    label          TEXT NOT NULL,
    profile        TEXT NOT NULL,
    order_id       TEXT NOT NULL,
    rule           TEXT NOT NULL,
    text           TEXT NOT NULL,
    device         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    spki           BLOB,
    requester_kind TEXT NOT NULL,
    requester      TEXT NOT NULL,
    address        TEXT NOT NULL
);
CREATE INDEX refusals_device ON refusals (device, id) WHERE device <> '';
CREATE INDEX refusals_spki ON refusals (spki, id) WHERE spki IS NOT NULL;
CREATE INDEX refusals_address ON refusals (address, id) WHERE address <> '';
CREATE INDEX refusals_requester ON refusals (requester, id) WHERE requester <> '';
CREATE INDEX refusals_order ON refusals (order_id, id) WHERE order_id <> '';
CREATE INDEX refusals_rule ON refusals (rule, id);
CREATE INDEX refusals_at ON refusals (at, id);

-- roles is JSON; removed_at is 0 while the principal is in force.
CREATE TABLE principals (
    name       TEXT PRIMARY KEY,
    roles      TEXT NOT NULL,
    public_key BLOB,
    unix_user  TEXT NOT NULL,
    added_at   INTEGER NOT NULL,
    added_by   TEXT NOT NULL,
    removed_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX principals_key ON principals (public_key) WHERE removed_at = 0 AND public_key IS NOT NULL;
CREATE UNIQUE INDEX principals_user ON principals (unix_user) WHERE removed_at = 0 AND unix_user <> '';

CREATE TABLE approvals (
    id         TEXT PRIMARY KEY,
    operation  TEXT NOT NULL,
    words      TEXT NOT NULL,
    plan       BLOB,
    proposer   TEXT NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state      TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    signature  BLOB,
    run_by     TEXT NOT NULL,
    run_at     INTEGER NOT NULL,
    outcome    TEXT NOT NULL
);
CREATE INDEX approvals_state ON approvals (state, at, id);
CREATE INDEX approvals_at ON approvals (at, id);
