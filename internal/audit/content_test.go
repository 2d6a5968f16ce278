package audit

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// coldEvents are one of each kind that has a content, with every field set, and
// one with none that can be left out.
func coldEvents() []ledger.Event {
	list := &ledger.Import{ID: "im-1", File: "a <b> & c.csv", Actor: "anna", At: at, Update: true, Server: "alpha", Devices: 3, New: 2}
	return []ledger.Event{
		{Kind: ledger.EventImported, At: at, Imported: &ledger.Certificate{
			Serial: "0c", Issuer: "old", Profile: "gateway", Label: "line", Purpose: ledger.ForDevice, Device: "dev-1", Order: "WO-1",
			Subject: "CN=dev-1", Requester: ledger.Requester{Kind: "admin", Name: "anna", Address: netip.MustParseAddr("10.0.0.7")},
			Key: [32]byte{7}, NotBefore: at, NotAfter: at.Add(time.Hour), State: ledger.Revoked, DER: []byte{0x30, 0},
			IntentAt: at, IssuedAt: at, RevokedAt: at, Reason: ledger.Superseded, RevokedBy: "otto", Shard: 3,
		}},
		{Kind: ledger.EventCRL, At: at, CRL: &ledger.CRLIssued{Issuer: "line-a", Shard: 15, Number: 1 << 40, ThisUpdate: at, NextUpdate: at, SHA256: [32]byte{9}}},
		{Kind: ledger.EventImport, At: at, Import: list},
		{Kind: ledger.EventListing, At: at, Listing: &ledger.Listings{Import: "im-1", Rows: []ledger.Listing{
			{Row: 1, Device: "dev-1", Order: "WO-1", Product: "gw", Key: [32]byte{1}, Fields: map[string]string{"mac": "00:11", "batch": "\u2028\x01"}},
			{Row: 2, Device: "dev-2"},
		}}},
		{Kind: ledger.EventListed, At: at, Import: list},
		{Kind: ledger.EventUnlisted, At: at, Import: &ledger.Import{ID: "im-2", At: at}},
		{Kind: ledger.EventDevice, At: at, Device: &ledger.DeviceChange{Device: "dev-1", State: ledger.Held, Actor: "anna", Note: "stolen", New: true}},
		{Kind: ledger.EventOrder, At: at, Order: &ledger.Order{
			ID: "WO-1", Product: "gw", Profile: "gateway", Label: "line", Station: "s-2", Quantity: 1000,
			Ranges: []ledger.Range{{First: "gw-0001", Last: "gw-1000"}}, Listed: true,
			Networks:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")},
			NotBefore: at, NotAfter: at.Add(time.Hour), Secret: [32]byte{3}, State: ledger.OrderOpen,
			CreatedAt: at, CreatedBy: "anna", ChangedAt: at, ChangedBy: "otto", Taken: 3,
		}},
		{Kind: ledger.EventOrder, At: at, Order: &ledger.Order{ID: "WO-2", State: ledger.OrderKilled}},
		{Kind: ledger.EventPrincipal, At: at, Principal: &ledger.Principal{
			Name: "anna", Roles: []string{"operator", "officer"}, Key: []byte{0x30, 1}, UnixUser: "anna", AddedAt: at, AddedBy: "init", RemovedAt: at,
		}},
		{Kind: ledger.EventApproval, At: at, Approval: &ledger.Approval{
			ID: "ap-1", Operation: "order.raise", Words: "raise \"WO-1\" to 2000", Plan: []byte(`{"a":1}`), Proposer: "anna", At: at, ExpiresAt: at,
			State: ledger.Approved, DecidedBy: "otto", DecidedAt: at, Signature: []byte{1, 2}, RunBy: "anna", RunAt: at, Outcome: "failed",
		}},
		{Kind: ledger.EventEnrollment, At: at, Enrollment: &ledger.Enrollment{
			ID: "0644aef", Key: [32]byte{4}, Subject: "CN=<dev-1>", Label: "line", Profile: "gateway", Purpose: ledger.ForDevice, Device: "dev-1",
			Cause: "second-key", Other: "0a", Requester: ledger.Requester{Kind: "password", Name: "station-2", Address: netip.MustParseAddr("fe80::1%eth0")},
			CSR: []byte{0x30, 1}, State: ledger.EnrollmentApproved, At: at, ExpiresAt: at.Add(time.Hour), DecidedAt: at, DecidedBy: "anna", Note: "seen", Serial: "0b",
		}},
		{Kind: ledger.EventEnrollment, At: at, Enrollment: &ledger.Enrollment{ID: "0644aee", State: ledger.EnrollmentPending, At: at}},
		{Kind: ledger.EventSecrets, At: at, Secrets: []ledger.DeviceSecret{
			{Device: "dev-1", SHA256: [32]byte{6}, At: at, Actor: "anna", ExpiresAt: at.Add(time.Hour), Serial: "0b"},
			{Device: "dev-2", At: at},
		}},
		{Kind: ledger.EventRollover, At: at, Rollover: &ledger.Rollover{
			Old: "root", New: "root-2", OldWithNew: []byte{0x30, 2}, NewWithOld: []byte{0x30, 3}, At: at, Actor: "anna", EndedAt: at, EndedBy: "otto",
		}},
		{Kind: ledger.EventRotation, At: at, Rotation: &ledger.RotationChange{
			Rotation: ledger.Rotation{
				ID: "r-1", Kind: ledger.RotateRoot, Old: "root", New: "root-2", Emergency: true, Plan: []byte(`{"version":1}`), State: "CANARY", Since: at, Paused: "line stands <still>",
				Issue: ledger.IssueCanary, Canary: ledger.Canary{Labels: []string{"line", "lab"}, Percent: 5}, Twins: []ledger.Twin{{Authority: "line-a", DER: []byte{0x30, 4}}}, Kept: true,
				Signatures: []ledger.GateSignature{{Gate: "APPROVED", Officer: "anna", Signature: []byte{1}, At: at}, {Gate: "APPROVED", Officer: "otto", Signature: []byte{2}, At: at}},
				At:         at, Actor: "anna", Version: 12,
			},
			Entry: ledger.RotationEntry{Number: 12, At: at, Actor: "system", State: "CANARY", Step: "aws/line-a register", Event: "done", Text: "as \"seen\""},
			Over:  true,
		}},
		{Kind: ledger.EventAnchors, At: at, Anchors: &ledger.AnchorNotes{Rotation: "r-1", Notes: []ledger.AnchorNote{
			{Device: "dev-1", Trusts: at, How: "fetched", Chains: at, Waived: at, WaivedBy: "anna", Why: "in the warehouse"}, {Device: "dev-2", Chains: at},
		}}},
	}
}

func TestColdEventsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	begin := l.Head()
	appendAll(t, l, coldEvents(), coldEvents()[:1])
	got := collect(t, l, begin)
	for i, want := range coldEvents() {
		if !reflect.DeepEqual(got[0].Events[i], want) {
			t.Errorf("read back %+v, want %+v", got[0].Events[i], want)
		}
	}
	if report, err := Verify(dir); err != nil || report.Batches != 2 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// Every field of what the ledger records must be in the log: a new one that
// this package does not know would be lost by a rebuild.
func TestEveryFieldIsWritten(t *testing.T) {
	for _, e := range append(events(), coldEvents()...) {
		content := reflect.Indirect(reflect.ValueOf(firstSet(e)))
		if content.Kind() != reflect.Struct {
			continue
		}
		plain, err := appendBody(nil, &record{format: format, batch: 1, of: 1, kind: e.Kind, at: at, event: e})
		if err != nil {
			t.Fatal(err)
		}
		for i := range content.NumField() {
			name := content.Type().Field(i).Name
			if e.Kind == ledger.EventIssued && (name == "Tasks" || name == "At") {
				continue // made again at start; the record's own time
			}
			if e.Kind == ledger.EventIntent && name == "Issuers" {
				continue // of the question, not of what was recorded
			}
			saved := reflect.New(content.Field(i).Type()).Elem()
			saved.Set(content.Field(i))
			content.Field(i).SetZero()
			without, err := appendBody(nil, &record{format: format, batch: 1, of: 1, kind: e.Kind, at: at, event: e})
			content.Field(i).Set(saved)
			if err == nil && bytes.Equal(plain, without) && !saved.IsZero() {
				t.Errorf("%s: field %s is not written", e.Kind, name)
			}
			if saved.IsZero() && !sparse(e) {
				t.Errorf("%s: this test does not set field %s", e.Kind, name)
			}
		}
	}
}

// sparse reports whether an event leaves fields out on purpose.
func sparse(e ledger.Event) bool {
	return e.Kind == ledger.EventUnlisted || e.Order != nil && e.Order.ID == "WO-2" || e.Enrollment != nil && e.Enrollment.State == ledger.EnrollmentPending
}

// firstSet is the content that an event has.
func firstSet(e ledger.Event) any {
	v := reflect.ValueOf(e)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			return f.Interface()
		}
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() > 0 {
			return f.Index(0).Addr().Interface()
		}
	}
	return nil
}

// A record can be written in one way only, or two logs that differ would mean
// the same.
func TestOtherSpellingsAreRefused(t *testing.T) {
	order := `{"batch":2,"rec":0,"of":1,"kind":"order","at":"2026-03-04T05:06:07Z","content":{"id":"WO-2","quantity":0,"state":"killed"}`
	if _, err := parseRecord([]byte(order), format); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"space":            {`"id":`, `"id": `},
		"order of fields":  {`"id":"WO-2","quantity":0`, `"quantity":0,"id":"WO-2"`},
		"empty field":      {`"state"`, `"station":"","state"`},
		"unknown field":    {`"state"`, `"stat":"x","state"`},
		"case of a name":   {`"id"`, `"ID"`},
		"doubled field":    {`"id":"WO-2"`, `"id":"WO-1","id":"WO-2"`},
		"escape":           {`WO-2`, `WO\u002d2`},
		"local time":       {`"state":"killed"`, `"state":"killed","created_at":"2026-03-04T06:06:07+01:00"`},
		"content missing":  {`,"content":{"id":"WO-2","quantity":0,"state":"killed"}`, ``},
		"content null":     {`{"id":"WO-2","quantity":0,"state":"killed"}`, `null`},
		"field of another": {`"content"`, `"serial":"0a","content"`},
	} {
		other := strings.Replace(order, change[0], change[1], 1)
		if other == order {
			t.Fatalf("%s: nothing changed", name)
		}
		if r, err := parseRecord([]byte(other), format); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
	if _, err := parseRecord([]byte(order), 1); err == nil {
		t.Error("accepted in a file of format 1")
	}
}

// testdata/format1 was written by mintmark 0.1.0.
func TestFormat1(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/format1")); err != nil {
		t.Fatal(err)
	}
	old, err := Verify(dir)
	if err != nil || old.Batches != 4 || old.Aborted != 1 || old.Records != 13 {
		t.Fatalf("verify: %+v, %v", old, err)
	}
	before, _ := listFiles(dir)
	l := open(t, dir, Config{})
	if open, err := l.Unsettled(old.Head); err != nil || open {
		t.Errorf("unsettled: %v, %v", open, err)
	}
	appendAll(t, l, coldEvents(), events())
	if _, err := l.AppendHead(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = open(t, dir, Config{})
	appendAll(t, l, events())
	report, err := Verify(dir)
	if err != nil || report.Batches != 7 || report.Files != len(before)+1 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	for _, path := range before {
		was, _ := os.ReadFile(filepath.Join("testdata/format1", filepath.Base(path)))
		is, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(is, was) {
			t.Errorf("%s was changed: %v", path, err)
		}
	}
	var intents []ledger.Event
	for _, b := range collect(t, l, ledger.Head{}) {
		intents = append(intents, b.Events[0])
	}
	if intents[0].Intent.Order != "" || intents[0].Intent.Device != intent("0a").Intent.Device {
		t.Errorf("read from format 1: %+v", intents[0].Intent)
	}
}

// testdata/format2 was written before approvals, one-time secrets and rollovers
// were recorded. It is read as it is, and goes on in a new file.
func TestFormat2(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/format2")); err != nil {
		t.Fatal(err)
	}
	old, err := Verify(dir)
	if err != nil || old.Batches != 4 || old.Aborted != 1 || old.Heads != 1 || old.Files != 2 {
		t.Fatalf("verify: %+v, %v", old, err)
	}
	l := open(t, dir, Config{})
	if open, err := l.Unsettled(old.Head); err != nil || open {
		t.Errorf("unsettled: %v, %v", open, err)
	}
	appendAll(t, l, coldEvents(), events())
	report, err := Verify(dir)
	if err != nil || report.Batches != 6 || report.Files != 3 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	all := collect(t, l, ledger.Head{})
	if i := all[0].Events[0].Intent; i == nil || i.Enrollment != "" || i.Secret != [32]byte{} || i.Order != "WO-7" {
		t.Errorf("read from format 2: %+v", i)
	}
	if i := all[len(all)-1].Events[0].Intent; i == nil || i.Enrollment == "" || i.Secret == [32]byte{} || i.Shard == 0 {
		t.Errorf("read from this format: %+v", i)
	}
	for _, name := range []string{"issuance-0000000000000001.ndjson", "issuance-0000000000000007.ndjson"} {
		was, _ := os.ReadFile(filepath.Join("testdata/format2", name))
		is, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(was) == 0 || !bytes.Equal(is, was) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}

// testdata/format3 was written before rotations and shards were recorded. What it does
// not have is nothing, and it goes on in a new file.
func TestFormat3(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/format3")); err != nil {
		t.Fatal(err)
	}
	old, err := Verify(dir)
	if err != nil || old.Batches != 3 || old.Aborted != 1 || old.Heads != 1 || old.Files != 1 {
		t.Fatalf("verify: %+v, %v", old, err)
	}
	l := open(t, dir, Config{})
	appendAll(t, l, coldEvents(), events())
	if report, err := Verify(dir); err != nil || report.Batches != 5 || report.Files != 2 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	all := collect(t, l, ledger.Head{})
	if i := all[0].Events[0].Intent; i == nil || i.Enrollment == "" || i.Shard != 0 {
		t.Errorf("read from format 3: %+v", i)
	}
	for _, e := range all[1].Events {
		if e.CRL != nil && (e.CRL.Shard != 0 || e.CRL.Number == 0) || e.Imported != nil && e.Imported.Shard != 0 {
			t.Errorf("read from format 3: %+v", e)
		}
	}
	if i := all[len(all)-1].Events[0].Intent; i == nil || i.Shard != 7 {
		t.Errorf("read from format 4: %+v", i)
	}
	was, _ := os.ReadFile("testdata/format3/issuance-0000000000000001.ndjson")
	is, err := os.ReadFile(filepath.Join(dir, "issuance-0000000000000001.ndjson"))
	if err != nil || len(was) == 0 || !bytes.Equal(is, was) {
		t.Errorf("the old file was changed: %v", err)
	}
}

// What a format does not have is refused in its files, and what an intent does
// not take has one spelling, too.
func TestKindsOfFormats(t *testing.T) {
	for _, e := range coldEvents() {
		body, err := appendBody(nil, &record{format: format, batch: 2, of: 1, kind: e.Kind, at: at, event: e})
		if err != nil {
			t.Fatal(err)
		}
		for in := 1; in <= format; in++ {
			_, err := parseRecord(body, in)
			if known := in >= since(e.Kind) && (in > 3 || !sharded(&e)); known != (err == nil) {
				t.Errorf("%s in format %d: %v", e.Kind, in, err)
			}
			if _, werr := appendBody(nil, &record{format: in, batch: 2, of: 1, kind: e.Kind, at: at, event: e}); (werr == nil) != (err == nil) {
				t.Errorf("%s is written in format %d: %v", e.Kind, in, werr)
			}
		}
	}
	takes := intent("0a")
	body, err := appendBody(nil, &record{format: format, batch: 2, of: 1, kind: takes.Kind, at: at, event: takes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseRecord(body, 2); err == nil {
		t.Error("an intent of format 2 takes an approval")
	}
	if _, err := parseRecord(body, 3); err == nil {
		t.Error("an intent of format 3 is of a shard")
	}
	plain := intent("0a")
	plain.Intent.Enrollment, plain.Intent.Secret, plain.Intent.Shard = "", [32]byte{}, 0
	if body, err = appendBody(nil, &record{format: format, batch: 2, of: 1, kind: plain.Kind, at: at, event: plain}); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(body, []byte(`"enrollment"`)) || bytes.Contains(body, []byte(`"secret"`)) || bytes.Contains(body, []byte(`"shard"`)) {
		t.Errorf("an intent that takes nothing: %s", body)
	}
	for _, more := range []string{`,"enrollment":""`, `,"secret":""`, `,"secret":"` + strings.Repeat("00", 32) + `"`, `,"secret":"05","enrollment":"x"`, `,"shard":0`, `,"shard":"1"`} {
		if _, err := parseRecord(append(bytes.Clone(body), more...), format); err == nil {
			t.Errorf("accepted with %s", more)
		}
	}
}

func FuzzContent(f *testing.F) {
	for _, e := range coldEvents() {
		b, err := appendContent(nil, &e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.Kind, b[len(`,"content":`):])
	}
	f.Fuzz(func(t *testing.T, kind string, text []byte) {
		e := ledger.Event{Kind: kind, At: at}
		if err := parseContent(&e, text); err != nil {
			return
		}
		once, err := appendContent(nil, &e)
		if err != nil {
			return // a time that is past the year 9999 in UTC
		}
		again := ledger.Event{Kind: kind, At: at}
		if err := parseContent(&again, once[len(`,"content":`):]); err != nil {
			t.Fatalf("%q cannot be read: %v", once, err)
		}
		if twice, err := appendContent(nil, &again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q, %v", once, twice, err)
		}
	})
}

// What a rotation holds is written field by field, too.
func TestEveryFieldOfARotationIsWritten(t *testing.T) {
	body := func(c ledger.RotationChange) string {
		t.Helper()
		b, err := appendBody(nil, &record{format: format, batch: 1, of: 1, kind: ledger.EventRotation, at: at, event: ledger.Event{Kind: ledger.EventRotation, At: at, Rotation: &c}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, e := range coldEvents() {
		if e.Rotation == nil {
			continue
		}
		full := body(*e.Rotation)
		check := func(of string, v reflect.Value) {
			t.Helper()
			for i := range v.NumField() {
				saved := reflect.New(v.Field(i).Type()).Elem()
				saved.Set(v.Field(i))
				v.Field(i).SetZero()
				if saved.IsZero() || body(*e.Rotation) == full {
					t.Errorf("%s: field %s is not written", of, v.Type().Field(i).Name)
				}
				v.Field(i).Set(saved)
			}
		}
		check("rotation", reflect.ValueOf(&e.Rotation.Rotation).Elem())
		check("canary", reflect.ValueOf(&e.Rotation.Rotation.Canary).Elem())
		check("twin", reflect.ValueOf(&e.Rotation.Rotation.Twins[0]).Elem())
		check("signature", reflect.ValueOf(&e.Rotation.Rotation.Signatures[0]).Elem())
		check("entry", reflect.ValueOf(&e.Rotation.Entry).Elem())
		return
	}
	t.Error("no rotation is among the events")
}
