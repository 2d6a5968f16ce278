package auditor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/audit/heads"
	"mintmark/internal/ledger"
)

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// devices is how many there are in an eventful world.
const devices = 4

// eventful is a world in which a little of everything has happened.
func eventful(t testing.TB, server string) *world {
	t.Helper()
	w := newWorld(t, server, 12_000)
	root := w.authority("root", nil)
	w.head()
	line := w.authority("line", root)
	w.append(ledger.Event{Kind: ledger.EventOrder, Order: &ledger.Order{ID: "WO-1", Quantity: 100, State: ledger.OrderOpen}})
	w.head()
	anna, otto := w.person("anna", "operator", "officer"), w.person("otto", "officer")
	_ = anna
	a := w.proposal("ap-1", "anna")
	a = w.approve(a, ledger.Approved, "otto", otto)
	a = w.approve(a, ledger.Running, "", nil)
	a = w.approve(a, ledger.Approved, "", nil) // failed, tried again
	a = w.approve(a, ledger.Running, "", nil)
	w.approve(a, ledger.Done, "", nil)
	w.approve(w.proposal("ap-2", "anna"), ledger.Rejected, "", nil)
	w.takes(line)
	for i := range devices {
		c := w.device(line, fmt.Sprintf("dev-%d", i))
		other := w.sign("void", line, newKey(t), false)
		w.append(w.intentOf(other, "line", ledger.ForDevice))
		w.append(voidedOf(serialOf(other)), revokedOf(serialOf(c)))
		// A batch that never committed: its serial number is used again.
		w.append(w.intentOf(other, "line", ledger.ForDevice))
		if _, err := w.log.Abort(); err != nil {
			t.Fatal(err)
		}
		w.append(ledger.Event{Kind: ledger.EventCRL, CRL: &ledger.CRLIssued{Issuer: "line", Number: int64(i + 1), ThisUpdate: w.now, NextUpdate: w.now}})
		w.head()
	}
	old := w.sign("old", line, newKey(t), false)
	w.append(ledger.Event{Kind: ledger.EventImported, Imported: &ledger.Certificate{Serial: serialOf(old), Issuer: "line", DER: old.Raw, State: ledger.Valid}})
	w.append(revokedOf(serialOf(old)))
	open := w.sign("open", line, newKey(t), false)
	w.append(w.intentOf(open, "line", ledger.ForDevice))
	w.head()
	return w
}

func TestSoundLog(t *testing.T) {
	w := eventful(t, "alpha")
	report := clean(t, w.config())
	if report.Certificates != devices+4 || report.Imported != 1 || report.Revoked != devices+1 || report.Voided != devices+2 || report.Open != 1 ||
		report.Authorities != 2 || report.Approvals != 5 || report.Found != 0 {
		t.Errorf("report %+v", report)
	}
	if l := report.Logs[0]; l.Heads != devices+3 || l.Report.Heads != devices+3 || !l.Newest.Equal(w.last.At) || l.Uncovered != 0 || l.Files < 3 || l.Aborted != devices {
		t.Errorf("log %+v", l)
	}
	w.append(voidedOf("ff"), voidedOf("fe"))
	c := w.config()
	c.Heads = nil
	if report := verify(t, c); report.Found != 2 {
		t.Errorf("found %v", report.Findings)
	}
}

// What a record says must follow from what was recorded before it.
func TestMeaning(t *testing.T) {
	for name, test := range map[string]struct {
		words  string
		write  func(w *world, root *ca)
		unread bool // does not show without reading certificates
	}{
		"no intent": {"was issued without an intent", func(w *world, root *ca) {
			w.append(issuedOf(w.sign("a", root, newKey(w.t), false)))
		}, false},
		"two certificates": {"a second certificate", func(w *world, root *ca) {
			w.append(issuedOf(w.device(root, "a")))
		}, false},
		"issued after void": {"although its intent is void", func(w *world, root *ca) {
			c := w.sign("a", root, newKey(w.t), false)
			w.append(w.intentOf(c, "root", ledger.ForDevice), voidedOf(serialOf(c)))
			w.append(issuedOf(c))
		}, false},
		"void after issued": {"although its certificate was issued", func(w *world, root *ca) {
			w.append(voidedOf(serialOf(w.device(root, "a"))))
		}, false},
		"void of nothing": {"none of the given logs holds its intent", func(w *world, root *ca) {
			w.append(voidedOf("0a"))
		}, false},
		"serial number twice": {"is used a second time", func(w *world, root *ca) {
			w.append(w.intentOf(w.device(root, "a"), "root", ledger.ForDevice))
		}, false},
		"imported twice": {"is used a second time", func(w *world, root *ca) {
			c := w.device(root, "a")
			w.append(ledger.Event{Kind: ledger.EventImported, Imported: &ledger.Certificate{Serial: serialOf(c), DER: c.Raw}})
		}, false},
		"revoked twice": {"was revoked a second time", func(w *world, root *ca) {
			s := serialOf(w.device(root, "a"))
			w.append(revokedOf(s), revokedOf(s))
		}, false},
		"revoked before issued": {"although none was issued", func(w *world, root *ca) {
			c := w.sign("a", root, newKey(w.t), false)
			w.append(w.intentOf(c, "root", ledger.ForDevice))
			w.append(revokedOf(serialOf(c)))
		}, false},
		"revoked unknown": {"none of the given logs has issued it", func(w *world, root *ca) {
			w.append(revokedOf("0a"))
		}, false},
		"another certificate": {"is not what its intent says", func(w *world, root *ca) {
			c := w.sign("a", root, newKey(w.t), false)
			i := w.intentOf(c, "root", ledger.ForDevice)
			i.Intent.TBS = append([]byte{}, i.Intent.TBS...)
			i.Intent.TBS[len(i.Intent.TBS)-1] ^= 1
			w.append(i)
			w.append(issuedOf(c))
		}, true},
		"another serial number": {"is recorded under the serial number", func(w *world, root *ca) {
			c := w.sign("a", root, newKey(w.t), false)
			i, f := w.intentOf(c, "root", ledger.ForDevice), issuedOf(c)
			i.Intent.Serial, f.Issued.Serial = "0a", "0a"
			w.append(i)
			w.append(f)
		}, true},
		"another issuer's key": {"has not signed it", func(w *world, root *ca) {
			other := &ca{name: "root", key: newKey(w.t)}
			other.certificate = w.sign("root", nil, other.key, true)
			w.device(other, "a")
		}, true},
		"unknown issuer": {"none of the given logs has recorded that one", func(w *world, root *ca) {
			stranger := &ca{name: "stranger", key: newKey(w.t)}
			stranger.certificate = w.sign("stranger", nil, stranger.key, true)
			w.device(stranger, "a")
		}, true},
		"chain": {"chain of authority \"line\" does not hold", func(w *world, root *ca) {
			line := &ca{name: "line", key: newKey(w.t), chain: [][]byte{root.certificate.Raw}}
			line.certificate = w.sign("line", nil, line.key, true)
			w.append(line.event())
		}, false},
		"CRL number": {"numbers must rise", func(w *world, root *ca) {
			for _, n := range []int64{7, 7} {
				w.append(ledger.Event{Kind: ledger.EventCRL, CRL: &ledger.CRLIssued{Issuer: "root", Number: n, ThisUpdate: w.now, NextUpdate: w.now}})
			}
		}, false},
		"quota": {"pays for 2 certificates and intents, its quantity is 1", func(w *world, root *ca) {
			w.append(ledger.Event{Kind: ledger.EventOrder, Order: &ledger.Order{ID: "WO-1", Quantity: 1}})
			for range 2 {
				c := w.sign("a", root, newKey(w.t), false)
				i := w.intentOf(c, "root", ledger.ForDevice)
				i.Intent.Order = "WO-1"
				w.append(i)
				w.append(issuedOf(c))
			}
		}, false},
		"unknown order": {"none of the given logs has created it", func(w *world, root *ca) {
			i := w.intentOf(w.sign("a", root, newKey(w.t), false), "root", ledger.ForDevice)
			i.Intent.Order = "WO-1"
			w.append(i)
		}, false},
		"own approval": {"who has proposed it", func(w *world, root *ca) {
			anna := w.person("anna", "officer")
			w.approve(w.proposal("ap", "anna"), ledger.Approved, "anna", anna)
		}, false},
		"approval by nobody": {"was no security officer", func(w *world, root *ca) {
			w.approve(w.proposal("ap", "anna"), ledger.Approved, "otto", newKey(w.t))
		}, false},
		"approval by an operator": {"was no security officer", func(w *world, root *ca) {
			w.approve(w.proposal("ap", "anna"), ledger.Approved, "otto", w.person("otto", "operator"))
		}, false},
		"approval by another key": {"has no signature by a key recorded", func(w *world, root *ca) {
			w.person("otto", "officer")
			w.approve(w.proposal("ap", "anna"), ledger.Approved, "otto", newKey(w.t))
		}, false},
		"late approval": {"after it had expired", func(w *world, root *ca) {
			otto, a := w.person("otto", "officer"), w.proposal("ap", "anna")
			w.now = w.now.Add(2 * time.Hour)
			w.approve(a, ledger.Approved, "otto", otto)
		}, false},
		"another plan": {"is not over what was proposed any more", func(w *world, root *ca) {
			otto, a := w.person("otto", "officer"), w.proposal("ap", "anna")
			a.Plan = []byte("another")
			w.approve(a, ledger.Approved, "otto", otto)
		}, false},
		"carried out twice": {"is running after it was \"done\"", func(w *world, root *ca) {
			otto, a := w.person("otto", "officer"), w.proposal("ap", "anna")
			a = w.approve(a, ledger.Approved, "otto", otto)
			a = w.approve(a, ledger.Running, "", nil)
			a = w.approve(a, ledger.Done, "", nil)
			w.approve(a, ledger.Running, "", nil)
		}, false},
		"server": {"is of server \"beta\" and stands in the log of \"alpha\"", func(w *world, root *ca) {
			i := w.intentOf(w.sign("a", root, newKey(w.t), false), "root", ledger.ForDevice)
			i.Intent.Epoch.Server = "beta"
			w.append(i)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "alpha", 0)
			root := w.authority("root", nil)
			test.write(w, root)
			w.head()
			c := w.config()
			finds(t, c, test.words)
			c.Unread = true
			if report := verify(t, c); report.Found != 0 && test.unread || report.Found == 0 && !test.unread {
				t.Errorf("without reading certificates: %v", report.Findings)
			}
		})
	}
}

// What one server records about another's certificates is right if all logs
// are given, whatever their clocks say.
func TestSeveralLogs(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		a, b := newWorld(t, "alpha", 0), newWorld(t, "beta", 0)
		b.now = b.now.Add(skew)
		root := a.authority("root", nil)
		otto := a.person("otto", "officer")
		c, open := a.device(root, "dev"), a.sign("open", root, newKey(t), false)
		a.append(a.intentOf(open, "root", ledger.ForDevice))
		a.head()
		b.append(revokedOf(serialOf(c)), voidedOf(serialOf(open)))
		b.device(root, "dev-2")
		b.approve(b.proposal("ap", "anna"), ledger.Approved, "otto", otto)
		b.head()
		both := a.config()
		both.Logs = append(both.Logs, b.dir)
		both.Heads = append(both.Heads, b.heads)
		var err error
		if both.Keys, err = heads.Verifiers(a.key.Verifier(), b.key.Verifier()); err != nil {
			t.Fatal(err)
		}
		both.MaxAge = 3 * time.Hour
		// Each directory must hold the heads of both.
		copyHeads(t, a.heads, b.heads)
		copyHeads(t, b.heads, a.heads)
		report := clean(t, both)
		if report.Certificates != 3 || report.Revoked != 1 || report.Voided != 1 || report.Open != 0 || report.Approvals != 1 {
			t.Errorf("skew %v: %+v", skew, report)
		}
		os.Remove(filepath.Join(b.heads, heads.FileName("alpha", 1)))
		finds(t, both, "is missing")
	}
}

func copyHeads(t testing.TB, from, to string) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(from, "*.head"))
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestHeadsOfALog(t *testing.T) {
	w := newWorld(t, "alpha", 0)
	for range 3 {
		w.append(voidedOf("0a"))
		w.head()
	}
	c := w.config()
	c.AsOf = c.AsOf.Add(8 * time.Minute)
	if report := verify(t, c); report.Found != 3 { // the void ones
		t.Fatalf("found %v", report.Findings)
	}
	c.AsOf = c.AsOf.Add(2 * time.Minute)
	if report := verify(t, c); report.Found != 4 || report.Findings[3].Text == "" {
		t.Errorf("an old head: %v", report.Findings)
	}
	c = w.config()
	if r, err := w.log.AppendHead(); err != nil || r.Sequence != 4 {
		t.Fatal(r, err)
	}
	// Its note is not there, and it is as old as the copy.
	if report := verify(t, c); report.Found != 4 {
		t.Errorf("a record without its head: %v", report.Findings)
	}
	c.AsOf = c.AsOf.Add(-time.Second) // the head came after the copy
	if report := verify(t, c); report.Found != 3 {
		t.Errorf("a record after the copy: %v", report.Findings)
	}
}

// A head from a time when the clock was ahead, or was set so, does not make a
// log that ends new for years.
func TestHeadOfTheFuture(t *testing.T) {
	w := newWorld(t, "alpha", 0)
	w.head()
	c := w.config()
	now := w.now
	w.now = now.AddDate(4, 0, 0)
	w.head()
	clean(t, c)
	c.AsOf = now.Add(time.Hour)
	finds(t, c, "the newest signed head is of "+now.Format(time.RFC3339))
	w.now = now.Add(45 * time.Minute)
	w.head()
	clean(t, c)

	w = newWorld(t, "alpha", 0)
	w.now = now.AddDate(4, 0, 0)
	w.head()
	c = w.config()
	c.AsOf = now
	finds(t, c, "are of a time after "+now.Format(time.RFC3339))
}
