package server

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

const flavoured = `labels:
  - {name: as-path, profile: device, issuer: issuing, authorize: trusted, cacerts: path, own: [device]}
  - {name: as-old, profile: device, issuer: issuing, authorize: trusted, cacerts: old, own: [device]}
  - {name: as-new, profile: device, issuer: issuing, authorize: trusted, cacerts: new, own: [device]}
  - {name: as-both, profile: device, issuer: issuing, authorize: trusted, cacerts: both, own: [device]}
`

// noted is what is known of devices.
func (w *turning) noted(t *testing.T) map[string]ledger.AnchorDevice {
	t.Helper()
	q, err := rotation.AnchorQuery(w.r, w.s.ra.Now())
	if err != nil {
		t.Fatal(err)
	}
	q.Limit = 1000
	devices, _, err := w.s.ledger.Anchors(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]ledger.AnchorDevice)
	for _, d := range devices {
		known[d.Device] = d
	}
	return known
}

// until waits for what is written behind the answers.
func (w *turning) until(t *testing.T, what string, is func(map[string]ledger.AnchorDevice) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(w.noted(t)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v", what, w.noted(t))
		}
	}
}

// caCerts asks for the anchors at a label and returns what came.
func caCerts(t *testing.T, address, label string, trust *x509.CertPool, c *tls.Certificate) []*x509.Certificate {
	t.Helper()
	client := est.Client{URL: "https://" + address, Label: label, RootCAs: trust, Certificate: c}
	defer client.Close()
	list, err := client.CACerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestFollowers has devices of every kind ask for the anchors while a root is replaced.
func TestFollowers(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "labels:\n", flavoured)
	server := serveLocal(t, dir, nil)
	trust := roots(t, dir)
	devices := make(map[string]*tls.Certificate)
	for _, name := range []string{"early", "asks", "old", "new", "path", "both", "anonymous", "revoked", "late", "shows", "station"} {
		devices[name] = issue(t, server.Server, "device", name)
	}
	// Before there is a rotation nothing is noted, and the same device counts later.
	caCerts(t, server.est, "", trust, devices["asks"])
	w := turn(t, server.Server, ledger.RotateRoot)
	w.to(t, rotation.CloudActiveBoth)
	caCerts(t, server.est, "", trust, devices["early"]) // is not given the new root yet
	w.to(t, rotation.Distributing)

	if _, err := server.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(devices["revoked"].Leaf.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	caCerts(t, server.est, "", trust, nil)
	caCerts(t, server.est, "", trust, devices["revoked"])
	caCerts(t, server.est, "", trust, selfSigned(t, devices["anonymous"].PrivateKey.(crypto.Signer), devices["anonymous"].Leaf))
	caCerts(t, server.est, "as-old", trust, devices["old"])
	caCerts(t, server.est, "as-path", trust, devices["path"])
	caCerts(t, server.est, "as-new", trust, devices["new"])
	caCerts(t, server.est, "as-both", trust, devices["both"])
	caCerts(t, server.est, "", trust, devices["asks"])
	has := func(d ledger.AnchorDevice, how string, chains bool) bool {
		return d.How == how && d.Trusts.IsZero() == (how == "") && d.Chains.IsZero() != chains
	}
	w.until(t, "distributing", func(known map[string]ledger.AnchorDevice) bool {
		return has(known["asks"], "fetched", false) && has(known["both"], "fetched", false) && has(known["new"], "fetched", true)
	})
	for _, name := range []string{"early", "old", "path", "anonymous", "late", "shows"} {
		if d := w.noted(t)[name]; !has(d, "", false) {
			t.Errorf("%s was given nothing of the new root: %+v", name, d)
		}
	}
	if d, ok := w.noted(t)["revoked"]; ok && !d.Trusts.IsZero() {
		t.Errorf("a revoked certificate counts: %+v", d)
	}

	w.to(t, rotation.Switched)
	caCerts(t, server.est, "", trust, devices["asks"])
	caCerts(t, server.est, "as-path", trust, devices["path"])
	caCerts(t, server.est, "as-old", trust, devices["old"])
	// A device that presents the path shows what it has.
	twin := server.ra.PathUnder("issuing", "root2")
	shows := *devices["shows"]
	shows.Certificate = append(shows.Certificate[:1:1], twin[len(twin)-1].Raw)
	caCerts(t, server.est, "as-old", trust, &shows)
	w.until(t, "switched", func(known map[string]ledger.AnchorDevice) bool {
		return has(known["asks"], "fetched", true) && has(known["path"], "", true) && has(known["shows"], "", true)
	})
	if d := w.noted(t)["old"]; !has(d, "", false) {
		t.Errorf("a device that is given the old path only: %+v", d)
	}

	// From here on the chain is one that only the new root vouches for.
	w.to(t, rotation.TrustRemoved)
	next := x509.NewCertPool()
	next.AddCert(server.ra.PathUnder("issuing", "root2")[0])
	cache := tls.NewLRUClientSessionCache(4)
	attrs := func(c *tls.Certificate) (resumed bool) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: next, ServerName: "localhost", Certificates: []tls.Certificate{*c}, ClientSessionCache: cache}}}
		defer client.CloseIdleConnections()
		answer, err := client.Get("https://" + server.est + "/.well-known/est/as-path/cacerts")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%d %v", answer.StatusCode, err)
		}
		return answer.TLS.DidResume
	}
	if attrs(devices["late"]) {
		t.Error("the first connection was resumed")
	}
	w.until(t, "trust removed", func(known map[string]ledger.AnchorDevice) bool { return has(known["late"], "proved", true) })
	counts, err := server.ledger.AnchorCount(t.Context(), func() ledger.AnchorQuery { q, _ := rotation.AnchorQuery(w.r, server.ra.Now()); return q }())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum != len(devices)-1 { // the revoked one has none in force
		t.Errorf("%d devices are counted, want %d: %v", sum, len(devices)-1, counts)
	}
}

// counted is the value of a counter.
func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].Metric) != 1 {
		t.Fatalf("%v %v", families, err)
	}
	return families[0].Metric[0].GetCounter().GetValue()
}

// unwritable is a ledger that cannot write for a time.
type unwritable struct {
	ledger.Ledger
	mu    sync.Mutex
	fails bool
	tried int
}

func (u *unwritable) NoteAnchors(ctx context.Context, id string, notes []ledger.AnchorNote) error {
	u.mu.Lock()
	fails := u.fails
	u.tried++
	u.mu.Unlock()
	if fails {
		return errors.New("the disk is full")
	}
	return u.Ledger.NoteAnchors(ctx, id, notes)
}

// TestFollowersBounds fills the queue, has the ledger fail, and ends: what is lost is
// counted, and what is not lost is written.
func TestFollowersBounds(t *testing.T) {
	s := openLocal(t, newState(t), io.Discard)
	defer s.Close()
	w := turn(t, s, ledger.RotateRoot)
	w.to(t, rotation.Distributing)
	f := newFollowers(s)
	store := &unwritable{Ledger: s.ledger, fails: true}
	f.notes = store
	root2, err := s.ra.Authority("root2")
	if err != nil {
		t.Fatal(err)
	}
	seen := func(c *tls.Certificate) est.Seen {
		return est.Seen{Issuer: "issuing", Client: c.Leaf, Given: []*x509.Certificate{root2.Certificate()}, Anchors: true}
	}
	var devices []*tls.Certificate
	for i := range 3 {
		devices = append(devices, issue(t, s, "device", fmt.Sprintf("device-%d", i)))
	}
	// Strangers can name our CA as their issuer, and one device can come again and again:
	// neither takes a place of those who have followed.
	f.queue = make(chan sighting, 2)
	stranger := selfSigned(t, devices[0].PrivateKey.(crypto.Signer), devices[0].Leaf)
	if stranger.Leaf, err = x509.ParseCertificate(stranger.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		f.see(seen(stranger))
		f.see(seen(devices[i%2]))
	}
	if n := counted(t, f.dropped); n != 0 || len(f.queue) != 2 {
		t.Errorf("%v dropped, %d wait, of two devices", n, len(f.queue))
	}
	for range 5 {
		f.see(seen(devices[2]))
	}
	if n := counted(t, f.dropped); n != 5 || len(f.queue) != 2 {
		t.Errorf("%v dropped, %d wait", n, len(f.queue))
	}
	for len(f.queue) > 0 {
		f.begun(<-f.queue)
	}
	f.queue = make(chan sighting, maxSeen)
	// Of another issuing CA, of nothing new, and of none that concerns the rotation.
	other := seen(devices[0])
	other.Issuer = "elsewhere"
	f.see(other)
	old := seen(devices[0])
	old.Given = s.ra.Anchors("issuing")[:1]
	old.Anchors = false
	old.Given = nil
	f.see(old)
	if len(f.queue) != 0 {
		t.Errorf("%d wait that say nothing", len(f.queue))
	}

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.run(ctx) }()
	f.see(seen(devices[0]))
	f.see(seen(devices[1]))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		store.mu.Lock()
		tried := store.tried
		store.mu.Unlock()
		if tried > 1 {
			break // it is tried again
		}
		if time.Now().After(deadline) {
			t.Fatal("never written")
		}
	}
	if d := w.noted(t)["device-0"]; !d.Trusts.IsZero() {
		t.Fatal("written by a ledger that cannot write")
	}
	if err := f.write(t.Context()); !errors.Is(err, errNotNoted) {
		t.Errorf("written at once by a ledger that cannot write: %v", err)
	}
	store.mu.Lock()
	store.fails = false
	store.mu.Unlock()
	w.until(t, "after the ledger writes again", func(known map[string]ledger.AnchorDevice) bool {
		return !known["device-0"].Trusts.IsZero() && !known["device-1"].Trusts.IsZero()
	})
	for deadline := time.Now().Add(20 * time.Second); counted(t, f.noted) != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v noted", counted(t, f.noted))
		}
	}
	// What is known is not asked again, and the end writes what is left.
	f.see(seen(devices[0]))
	if len(f.queue) != 0 {
		t.Error("what is in the ledger is looked at again")
	}
	f.see(seen(devices[2]))
	stop()
	<-done
	if d := w.noted(t)["device-2"]; d.How != "fetched" {
		t.Errorf("lost at the end: %+v", d)
	}
	ended, over := context.WithCancel(t.Context())
	over()
	if err := f.write(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if n := counted(t, f.dropped); n != 5 {
		t.Errorf("%v dropped", n)
	}
}

// TestRollbackCountsWhoCameJustNow: a rotation that is taken back in the second in which the first
// device has fetched the new anchors leaves it what it trusts.
func TestRollbackCountsWhoCameJustNow(t *testing.T) {
	s := openLocal(t, newState(t), io.Discard)
	defer s.Close()
	w := turn(t, s, ledger.RotateRoot)
	w.to(t, rotation.Distributing)
	f := newFollowers(s)
	s.followers.Store(f)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.run(ctx) }()
	defer func() { stop(); <-done }()
	root2, err := s.ra.Authority("root2")
	if err != nil {
		t.Fatal(err)
	}
	f.see(est.Seen{Issuer: "issuing", Client: issue(t, s, "device", "pump").Leaf, Given: []*x509.Certificate{root2.Certificate()}, Anchors: true})
	result, err := s.machine().Rollback(t.Context(), w.r.ID, "it is not used", "carol", nil)
	if err != nil || !result.Rotation.Kept {
		t.Errorf("taken back: %v, kept %t, with a device that trusts only the new root", err, result.Rotation.Kept)
	}
}
