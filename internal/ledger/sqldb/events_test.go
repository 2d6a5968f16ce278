package sqldb_test

import (
	"crypto/sha256"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// TestEvents: whatever must survive the loss of the database is in the log, as
// it was done, and nothing else is.
func TestEvents(t *testing.T) {
	s, log := open(t, t.TempDir())
	ctx := t.Context()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	last := ledger.Head{}
	// logged checks what the log got since the last call.
	logged := func(what string, want ...ledger.Event) {
		t.Helper()
		var got []ledger.Event
		for b, err := range log.Batches(last) {
			ok(err)
			got = append(got, b.Events...)
		}
		last = log.Head()
		kinds := func(events []ledger.Event) (all []string) {
			for _, e := range events {
				all = append(all, e.Kind)
			}
			return all
		}
		if !slices.Equal(kinds(got), kinds(want)) {
			t.Fatalf("%s: events %v, want %v", what, kinds(got), kinds(want))
		}
		for n := range want {
			if want[n].At.IsZero() {
				want[n].At = got[n].At // the ledger's clock
			}
			g, err := json.Marshal(got[n])
			ok(err)
			w, err := json.Marshal(want[n])
			ok(err)
			if string(g) != string(w) {
				t.Errorf("%s:\n got %s\nwant %s", what, g, w)
			}
		}
	}

	epoch, err := s.Join(ctx, "alpha", now, time.Hour)
	ok(err)
	order := ledger.Order{ID: "wo-1", Profile: "gateway", Quantity: 5, Ranges: []ledger.Range{{First: "a1", Last: "a9"}}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Listed: true, NotBefore: now, NotAfter: now.Add(time.Hour), Secret: ledgertest.Key("s"), CreatedAt: now, CreatedBy: "alice", Taken: 3}
	ok(s.CreateOrder(ctx, order))
	order.State, order.Taken = ledger.OrderOpen, 0
	logged("order created", ledger.Event{Kind: ledger.EventOrder, At: now, Order: &order})

	i := ledgertest.NewIntent(epoch, now, "dev-1", "k1")
	i.Order = "wo-1"
	results, err := s.Begin(ctx, []ledger.Intent{i})
	ok(err)
	ok(results[0])
	last = log.Head()

	order.Quantity, order.ChangedAt, order.ChangedBy = 7, now.Add(time.Minute), "bob"
	quantity := 7
	changed, err := s.ChangeOrder(ctx, "wo-1", ledger.OrderChange{Quantity: &quantity}, "bob", order.ChangedAt)
	ok(err)
	if changed.Taken != 1 {
		t.Errorf("taken %d", changed.Taken)
	}
	logged("order changed", ledger.Event{Kind: ledger.EventOrder, At: order.ChangedAt, Order: &order})

	order.State = ledger.OrderKilled
	_, err = s.ChangeOrder(ctx, "wo-1", ledger.OrderChange{State: &order.State}, "bob", order.ChangedAt)
	ok(err)
	logged("order killed", ledger.Event{Kind: ledger.EventVoided, At: order.ChangedAt, Voided: &i.Serial}, ledger.Event{Kind: ledger.EventOrder, At: order.ChangedAt, Order: &order})

	list := ledger.Import{ID: "i1", File: "list.csv", Actor: "alice", At: now, Update: true, Server: "alpha"}
	rows := []ledger.Listing{{Row: 2, Device: "dev-2", Order: "wo-1", Product: "p", Key: ledgertest.Key("k2"), Fields: map[string]string{"mac": "02"}}, {Row: 1, Device: "dev-1"}}
	ok(s.OpenImport(ctx, list))
	logged("import opened", ledger.Event{Kind: ledger.EventImport, At: now, Import: &list})
	ok(s.StageDevices(ctx, "i1", rows))
	logged("rows", ledger.Event{Kind: ledger.EventListing, Listing: &ledger.Listings{Import: "i1", Rows: rows}})
	_, err = s.CommitImport(ctx, "i1", now.Add(time.Hour))
	ok(err)
	list.Devices, list.New = 2, 2
	logged("in force", ledger.Event{Kind: ledger.EventListed, At: now.Add(time.Hour), Import: &list})
	dropped := ledger.Import{ID: "i2", At: now}
	ok(s.OpenImport(ctx, dropped))
	ok(s.StageDevices(ctx, "i2", []ledger.Listing{{Row: 1, Device: "dev-3"}}))
	last = log.Head()
	ok(s.DropImport(ctx, "i2"))
	logged("dropped", ledger.Event{Kind: ledger.EventUnlisted, Import: &dropped})

	_, err = s.HoldDevice(ctx, "dev-2", ledger.Retired, "bob", "scrapped", now)
	ok(err)
	logged("device", ledger.Event{Kind: ledger.EventDevice, At: now, Device: &ledger.DeviceChange{Device: "dev-2", State: ledger.Retired, Actor: "bob", Note: "scrapped"}})

	for _, id := range []string{"dev-2", "dev-7"} { // of which one is known
		_, err = s.HoldUnknown(ctx, id, ledger.Held, "bob", "stolen", now)
		ok(err)
		logged("device", ledger.Event{Kind: ledger.EventDevice, At: now, Device: &ledger.DeviceChange{Device: id, State: ledger.Held, Actor: "bob", Note: "stolen", New: id == "dev-7"}})
	}

	old := ledger.Certificate{Serial: ledgertest.NewSerial(now), Issuer: "line-a", Purpose: ledger.ForDevice, Device: "dev-9", Key: ledgertest.Key("k9"), DER: []byte("old"),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	for range 2 { // the second time nothing happens
		results, err = s.ImportCertificates(ctx, []ledger.Certificate{old}, "alice", now)
		ok(err)
		ok(results[0])
	}
	old.State, old.Requester, old.IntentAt, old.IssuedAt = ledger.Valid, ledger.Requester{Kind: "import", Name: "alice"}, old.NotBefore, old.NotBefore
	logged("imported", ledger.Event{Kind: ledger.EventImported, At: now, Imported: &old})

	fence, err := s.Acquire(ctx, "crl", "alpha", now, time.Hour)
	ok(err)
	crl := ledger.CRL{Issuer: "line-a", Number: 9, ThisUpdate: now, NextUpdate: now.Add(time.Hour), DER: []byte("crl")}
	ok(s.PutCRL(ctx, fence, crl))
	logged("CRL", ledger.Event{Kind: ledger.EventCRL, CRL: &ledger.CRLIssued{Issuer: "line-a", Number: 9, ThisUpdate: now, NextUpdate: crl.NextUpdate, SHA256: sha256.Sum256(crl.DER)}})

	person := ledger.Principal{Name: "bob", Roles: []string{"officer"}, Key: []byte("key"), UnixUser: "bob", AddedAt: now, AddedBy: "init"}
	ok(s.PutPrincipal(ctx, person, now))
	logged("principal", ledger.Event{Kind: ledger.EventPrincipal, At: now, Principal: &person})

	approval := ledger.Approval{ID: "a1", Operation: "order.raise", Words: "words", Plan: []byte("plan"), Proposer: "alice", At: now, ExpiresAt: now.Add(time.Hour), State: ledger.Pending}
	ok(s.Propose(ctx, approval))
	logged("proposal", ledger.Event{Kind: ledger.EventApproval, At: now, Approval: &approval})
	approval.State, approval.DecidedBy, approval.DecidedAt, approval.Signature = ledger.Approved, "bob", now.Add(time.Minute), []byte("signature")
	ok(s.MoveApproval(ctx, ledger.Pending, approval, approval.DecidedAt))
	logged("approved", ledger.Event{Kind: ledger.EventApproval, At: approval.DecidedAt, Approval: &approval})

	// What strangers write is not in the log, and neither is what was refused.
	ok(s.Refuse(ctx, []ledger.Refused{{At: now, Rule: "rule"}}, 10))
	if err := s.CreateOrder(ctx, order); err == nil {
		t.Error("an order was created twice")
	}
	if err := s.StageDevices(ctx, "i1", rows); err == nil {
		t.Error("rows were added to an import in force")
	}
	if err := s.MoveApproval(ctx, ledger.Pending, approval, now); err == nil {
		t.Error("an approval was moved from where it is not")
	}
	results, err = s.Begin(ctx, []ledger.Intent{i})
	ok(err)
	if results[0] == nil {
		t.Error("an intent under a killed order was recorded")
	}
	logged("nothing")
}

// TestUnitsReturn: an intent that failed with its log gives its unit back once
// the ledger is sound again.
func TestUnitsReturn(t *testing.T) {
	for name, mode := range map[string]ledgertest.Mode{"not persisted": ledgertest.NotPersist, "persisted all the same": ledgertest.ButPersist} {
		t.Run(name, func(t *testing.T) {
			var log *brittleLog
			s, _ := open(t, t.TempDir(), func(c *sqldb.Config) {
				log = &brittleLog{Log: c.Log.(*audit.Log)}
				c.Log = log
			})
			ctx, now := t.Context(), time.Now()
			epoch, err := s.Join(ctx, "alpha", now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.CreateOrder(ctx, ledger.Order{ID: "wo-1", Profile: "p", Quantity: 2, NotBefore: now, NotAfter: now.Add(time.Hour), CreatedAt: now}); err != nil {
				t.Fatal(err)
			}
			intent := func(device string) ledger.Intent {
				i := ledgertest.NewIntent(epoch, now, device, device)
				i.Order = "wo-1"
				return i
			}
			begun := intent("dev-1")
			if results, err := s.Begin(ctx, []ledger.Intent{begun}); err != nil || results[0] != nil {
				t.Fatal(results, err)
			}
			log.mode.Store(int32(mode))
			if _, err := s.Begin(ctx, []ledger.Intent{intent("dev-2")}); err == nil {
				t.Fatal("begun without a log")
			}
			if _, err := s.Finish(ctx, []ledger.Issued{ledgertest.Signed(begun, now)}); err == nil {
				t.Fatal("finished without a log")
			}
			log.mode.Store(0)
			eventually(t, "units", func() bool {
				o, err := s.Order(ctx, "wo-1")
				return err == nil && o.Taken == 0
			})
			for _, device := range []string{"dev-1", "dev-2"} {
				if results, err := s.Begin(ctx, []ledger.Intent{intent(device)}); err != nil || results[0] != nil {
					t.Errorf("%s: %v, %v", device, results, err)
				}
			}
			if o, err := s.Order(ctx, "wo-1"); err != nil || o.Taken != 2 {
				t.Errorf("taken %d, %v", o.Taken, err)
			}
		})
	}
}

// TestSchema1 opens a database of the first version, with what it holds, and lets
// that version's statements run on it afterwards, as a server's that ran already.
func TestSchema1(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	sqldb.MakeSchema1(t, path)
	s, _ := open(t, dir, func(c *sqldb.Config) { c.NewLog = true })
	ctx := t.Context()
	d, err := s.Device(ctx, "dev-old")
	if err != nil || d.State != ledger.Enrolled || d.Certificates != 1 || d.Listed || d.Current != "0aff" {
		t.Errorf("device: %+v, %v", d, err)
	}
	c, err := s.Certificate(ctx, "0aff")
	if err != nil || c.Order != "" || c.Device != "dev-old" {
		t.Errorf("certificate: %+v, %v", c, err)
	}
	sqldb.UseAsSchema1(t, path)
	d, err = s.Device(ctx, "dev-new")
	if err != nil || d.State != ledger.Enrolled || d.Certificates != 1 {
		t.Errorf("device of the version before: %+v, %v", d, err)
	}
}
