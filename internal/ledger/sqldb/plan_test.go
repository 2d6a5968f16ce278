package sqldb

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pgtest"
)

// The same queries find their indexes in PostgreSQL, in a table that is as that
// of a factory.
func TestQueriesUseIndexesPostgres(t *testing.T) {
	d, err := newDialect(Config{URL: pgtest.Start(t).NewDatabase(t), Server: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWriter(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.migrate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`INSERT INTO certificates (serial, issuer, profile, label, purpose, device, subject, requester_kind, requester, address,
	spki, not_before, not_after, state, intent_at, epoch_server, epoch_number)
	SELECT decode(lpad(to_hex(n), 36, '0'), 'hex'), 'line-' || n % 3, 'profile-' || n % 3, 'line', 'device', 'dev-' || n, 'CN=dev-' || n, 'password', 'station-' || n % 20, '',
	sha256(n::text::bytea), 0, 2000000000000000 + n, CASE WHEN n % 500 = 0 THEN 'revoked' WHEN n % 500 = 1 THEN 'open' ELSE 'valid' END, 0, 'alpha', 1
	FROM generate_series(1, 6000) n`,
		`INSERT INTO enrollments (id, spki, subject, label, profile, purpose, device, cause, requester_kind, requester, address, state, at, expires_at, decided_at, decided_by, note, changed_at, serial)
	SELECT lpad(to_hex(n), 14, '0'), sha256(n::text::bytea), 'CN=dev-' || n, 'label-' || n % 50, 'p', 'device', 'dev-' || n, 'label', '', '', '', CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'approved' END,
	n, 2000000000000000 + n, 0, '', '', n, CASE WHEN n % 100 > 1 THEN decode(lpad(to_hex(n), 36, '0'), 'hex') END FROM generate_series(1, 6000) n`,
		`INSERT INTO device_secrets (device, sha256, at, actor, expires_at, serial)
	SELECT 'dev-' || n, sha256(n::text::bytea), n, '', 2000000000000000 + n, CASE WHEN n % 3 = 0 THEN decode(lpad(to_hex(n), 36, '0'), 'hex') END FROM generate_series(1, 6000) n`,
		`INSERT INTO outbox (kind, task_key, payload, due) SELECT 'aws', 'key-' || n, '', n FROM generate_series(1, 1000) n`,
		`INSERT INTO devices (id, first_seen, last_issued, certificates, current_serial)
	SELECT 'dev-' || n, n, n, 1, decode(lpad(to_hex(n), 36, '0'), 'hex') FROM generate_series(1, 6000) n`,
		`INSERT INTO anchors (rotation, device, trusts, how, chains, waived, waived_by, why)
	SELECT 'r-1', 'dev-' || n, n, 'fetched', 0, 0, '', '' FROM generate_series(1, 6000) n`,
		`INSERT INTO changes (number, serial) SELECT n, decode(lpad(to_hex(n), 36, '0'), 'hex') FROM generate_series(1, 6000) n`,
		`ANALYZE`,
		`VACUUM certificates`,
	} {
		if _, err := w.conn.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name, text, want string, args ...any) {
		t.Helper()
		var plan []string
		err := w.query("EXPLAIN "+text, func(rows *sql.Rows) error {
			var line string
			err := rows.Scan(&line)
			plan = append(plan, strings.TrimSpace(line))
			return err
		}, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := strings.Join(plan, "; ")
		if !strings.Contains(got, want) || slices.ContainsFunc([]string{"certificates", "devices", "anchors", "enrollments", "device_secrets", "outbox", "changes"}, func(table string) bool { return strings.Contains(got, "Seq Scan on "+table) }) {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	after := ledger.Serial("0000")
	for name, c := range map[string]struct {
		query ledger.Query
		want  string
	}{
		"all":       {ledger.Query{After: after}, "Index Cond: (serial > "},
		"device":    {ledger.Query{Device: "dev-7", After: after}, "certificates_device"},
		"key":       {ledger.Query{Key: [32]byte{1}, After: after}, "certificates_spki"},
		"requester": {ledger.Query{Requester: "nobody", After: after}, "certificates_requester"},
		"profile":   {ledger.Query{Profile: "none", After: after}, "certificates_profile"},
		"issuer":    {ledger.Query{Issuer: "none", After: after}, "certificates_issuer"},
		"revoked":   {ledger.Query{State: ledger.Revoked, After: after}, "certificates_state"},
		"expiring":  {ledger.Query{ExpiresBefore: time.Unix(9, 0), After: after}, "certificates_end"},
		"in force":  {ledger.Query{ExpiresAfter: time.Unix(9, 0), State: ledger.Valid, After: after}, "certificates_end"},
		"purpose":   {ledger.Query{Purpose: ledger.ForServer, After: after}, "certificates_purpose"},
	} {
		text, args, err := w.selectCertificates(c.query, 10)
		if err != nil {
			t.Fatal(err)
		}
		check(name, text, c.want, args...)
	}
	check("what a key has", sqlSameKey, "Index Scan using certificates_", []byte{1}, 1)
	check("another key of a device", sqlOtherKey, "certificates_device", "dev-7", 1, []byte{1}, "s", 1, "device")
	for name, c := range map[string]struct {
		query ledger.EnrollmentQuery
		want  string
	}{
		"pending enrollments":     {ledger.EnrollmentQuery{State: ledger.EnrollmentPending, After: "0"}, "enrollments_"},
		"issued enrollments":      {ledger.EnrollmentQuery{State: ledger.EnrollmentIssued, After: "0"}, "enrollments_"},
		"enrollments of a device": {ledger.EnrollmentQuery{Device: "dev-7"}, "enrollments_device"},
		"enrollments of a label":  {ledger.EnrollmentQuery{Label: "label-7"}, "enrollments_label"},
	} {
		text, args := selectEnrollments(c.query)
		check(name, text, c.want, args...)
	}
	check("newest enrollment", sqlNewestEnrollment, "enrollments_spki", []byte{1}, "s", 1)
	check("newest enrollment that nobody has taken", sqlNewestUntaken, "enrollments_spki", []byte{1}, "s", 1)
	check("enrollments that wait", sqlCountWaiting, "enrollments_waiting", 1, 1)
	check("enrollments of a device that wait", sqlWaitingDevice, "enrollments_", "dev-7", 1, 1)
	check("enrollments of a requester that wait", sqlWaitingAsker, "enrollments_", "password", "line-1", 1, 1)
	check("enrollments long over", sqlSweepEnrollments, "enrollments_over", 1)
	check("key that a device holds", sqlHeldKey, "certificates_device", "dev-7", 1, []byte{1}, "device")
	check("giving an approval back", sqlReturnEnrollment, "enrollments_serial", []byte{1})
	check("giving a secret back", sqlReturnSecret, "device_secrets_serial", []byte{1})
	check("secrets long over", sqlSweepSecrets, "device_secrets_over", 1)
	check("secret of a device", sqlSecret, "device_secrets_pkey", "dev-7")
	check("lapsed intents", sqlLapsed, "certificates_state", 1)
	check("entries of a CRL", sqlEntries, "Index Only Scan using certificates_shard", "line-1", 3, 1)
	checkRotationPlansPostgres(check)
	check("what a certificate has asked for", sqlAskedFor, "certificates_", "station-1")
	check("replacing a task", sqlDropTask, "outbox_", "aws", "key-7")
	check("locks", sqlLock, "locks_pkey", []int64{1, 2})
}

// Names that are told apart in two versions of the server would not keep each
// other out.
func TestSlotsStayTheSame(t *testing.T) {
	for name, want := range map[string]int64{"device:dev-1": 4376, "job:crl": 3788} {
		if got := slotOf(name); got != want {
			t.Errorf("%s is slot %d, want %d", name, got, want)
		}
	}
	got := fmt.Sprint(slotsOf([]*op{{locks: []string{"b", "a"}}, {}, {locks: []string{"a", "c"}}}))
	if want := fmt.Sprint(slotsOf([]*op{{locks: []string{"c", "a", "b"}}})); got != want {
		t.Errorf("locks in the order %s and %s", got, want)
	}
}
