package revocation_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/ca/revocation/place"
	"mintmark/internal/ledger"
)

// withPlaces gives a publisher directories.
func withPlaces(dirs ...string) func(*revocation.Config) {
	return func(c *revocation.Config) {
		for _, dir := range dirs {
			c.Places = append(c.Places, place.Folder(dir, dir))
		}
	}
}

// keep runs the places until the state of the first one is as wanted.
func (w *world) keep(p *revocation.Publisher, what string, until func(revocation.PlaceState) bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.RunPlaces(ctx) }()
	defer func() { cancel(); <-ended }()
	for deadline := time.Now().Add(20 * time.Second); !until(p.PlaceStates()[0]); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %+v", what, p.PlaceStates())
		}
	}
}

func complete(s revocation.PlaceState) bool { return !s.Complete.IsZero() && s.Behind == 0 }

// same checks that a place has every CRL and CA certificate as the ledger has it.
func (w *world) same(dir string) {
	w.t.Helper()
	list, err := w.store.CRLs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	want := map[string][]byte{"ca/root.crt": w.root.Certificate().Raw, "ca/line-a.crt": w.line.Certificate().Raw}
	for _, crl := range list {
		stored, err := w.store.LatestCRL(w.t.Context(), crl.Issuer, crl.Shard)
		if err != nil {
			w.t.Fatal(err)
		}
		want[strings.TrimPrefix(points(crl.Issuer, crl.Shard)[0], "http://pki.example/")] = stored.DER
	}
	for name, content := range want {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(have, content) {
			w.t.Errorf("%s: %d bytes, want %d: %v", name, len(have), len(content), err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", ".new-*"))
	if err != nil || len(left) > 0 {
		w.t.Errorf("left behind: %v %v", left, err)
	}
}

func gauge(t *testing.T, p *revocation.Publisher, name, value string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(p.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == value {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() // one of them is there
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, value)
	return 0
}

// TestPlaces: a directory gets every file, also those of what is signed later, and what
// somebody removes there comes back. One that is not there delays it in nothing.
func TestPlaces(t *testing.T) {
	w := newWorld(t)
	dir, missing := t.TempDir(), filepath.Join(t.TempDir(), "not-mounted")
	w.revoked(1, 2)
	p := w.publisher(2, withPlaces(dir, missing))
	w.publish(p)
	w.keep(p, "the first time", complete)
	w.same(dir)
	if at := gauge(t, p, "crl_published_timestamp_seconds", "dir "+dir); at != float64(w.now.Unix()) {
		t.Errorf("published at %v", at)
	}
	if s := p.PlaceStates()[0]; s.Numbers[ledger.CRLName{Issuer: "line-a", Shard: 1}] != w.numbers()[1] || len(s.Problems) > 0 {
		t.Errorf("state %+v", s)
	}
	s := p.PlaceStates()[1]
	if s.Behind == 0 || len(s.Problems) == 0 || !s.Complete.IsZero() || gauge(t, p, "crl_published_timestamp_seconds", "dir "+missing) != 0 {
		t.Errorf("the one that is not there: %+v", s)
	}
	if gauge(t, p, "crl_publish_failures_total", "dir "+missing) == 0 {
		t.Error("no failure is counted")
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where nothing is mounted, something was written: %v", err)
	}

	w.revoked(1, 1)
	w.now = w.now.Add(time.Minute)
	w.publish(p)
	w.keep(p, "after a revocation", func(s revocation.PlaceState) bool {
		return complete(s) && s.Numbers[ledger.CRLName{Issuer: "line-a", Shard: 1}] == w.numbers()[1]
	})
	w.same(dir)

	if err := os.RemoveAll(filepath.Join(dir, "crl")); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(16 * time.Minute)
	w.keep(p, "after a removal", func(s revocation.PlaceState) bool { return complete(s) && !s.Complete.Before(w.now) })
	w.same(dir)
}

// TestNumbersAfterRestore puts an old copy of ledger and log back, from before CRLs that
// relying parties have. The clock has not gone on, which keeps the number by itself from
// being higher; a place knows it.
func TestNumbersAfterRestore(t *testing.T) {
	w := newWorld(t)
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	w.revoked(1, 2)
	p := w.publisher(2, withPlaces(dir))
	w.publish(p)
	w.close()
	if err := os.CopyFS(copied, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.open()
	p = w.publisher(2, withPlaces(dir))
	w.revoked(1, 1)
	for range 3 {
		if err := p.Publish(t.Context(), w.fence, w.line); err != nil {
			t.Fatal(err)
		}
	}
	w.keep(p, "before the loss", complete)
	given := w.numbers()
	w.close()

	w.dir = copied
	w.open()
	if now := w.numbers(); now[1] >= given[1] {
		t.Fatalf("the copy has CRLs %v, and %v were given out", now, given)
	}
	p = w.publisher(2, withPlaces(dir))
	w.keep(p, "compared with the copy", func(s revocation.PlaceState) bool { return s.Behind == 3 })
	if w.woken == 0 {
		t.Error("nobody was woken")
	}
	if head, err := ca.ReadCRLHead(mustRead(t, filepath.Join(dir, "crl/line-a/1.crl"))); err != nil || head.Number != given[1] {
		t.Errorf("CRL %d was replaced by %d: %v", given[1], head.Number, err)
	}
	w.publish(p)
	for shard, number := range w.numbers() {
		if number <= given[shard] {
			t.Errorf("shard %d: number %d, and %d was given out", shard, number, given[shard])
		}
	}
	w.keep(p, "put right", complete)
	w.same(dir)
	// Once is enough: at most one more CRL, in which the ledger's own count is right again.
	w.publish(p)
	before := w.numbers()
	w.publish(p)
	for shard, number := range w.numbers() {
		if number != before[shard] {
			t.Errorf("shard %d is signed again and again: %d after %d", shard, number, before[shard])
		}
	}
}

// TestForeignCRLInPlace: whoever may write to a place cannot make numbers rise, nor keep
// the right CRL from coming back.
func TestForeignCRLInPlace(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	p := w.publisher(2, withPlaces(dir))
	w.publish(p)
	w.keep(p, "the first time", complete)
	other, _ := newAuthorities(t, w.now)
	forged, err := other.SignCRL(t.Context(), ca.CRL{Number: big.NewInt(1 << 60), ThisUpdate: w.now, NextUpdate: w.now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"crl/line-a.crl": forged, "crl/line-a/1.crl": []byte("rubbish"), "crl/line-a/2.crl": {}, "ca/line-a.crt": other.Certificate().Raw} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := w.numbers()
	p = w.publisher(2, withPlaces(dir))
	w.keep(p, "put right", complete)
	w.same(dir)
	w.publish(p)
	for shard, number := range w.numbers() {
		if number != before[shard] {
			t.Errorf("shard %d: number %d after %d", shard, number, before[shard])
		}
	}
}

// TestLaterImportedInPlace: where the key is elsewhere, a later CRL in a place stays, and
// somebody is told to import it.
func TestLaterImportedInPlace(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	sign := func(number int64) ledger.CRL {
		der, err := w.root.SignCRL(t.Context(), ca.CRL{Number: big.NewInt(number), ThisUpdate: w.now, NextUpdate: w.now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return ledger.CRL{Issuer: "root", Number: number, ThisUpdate: w.now, NextUpdate: w.now.Add(time.Hour), DER: der}
	}
	if err := w.store.PutCRL(t.Context(), w.fence, sign(4)); err != nil {
		t.Fatal(err)
	}
	later := sign(5)
	if err := os.Mkdir(filepath.Join(dir, "crl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "crl/root.crl"), later.DER, 0o644); err != nil {
		t.Fatal(err)
	}
	keyless, err := ca.New(ca.Config{Name: "root", Certificate: w.root.Certificate()})
	if err != nil {
		t.Fatal(err)
	}
	p := w.publisher(0, withPlaces(dir), func(c *revocation.Config) { c.Authorities = func() []*ca.Authority { return []*ca.Authority{keyless} } })
	w.keep(p, "compared", func(s revocation.PlaceState) bool { return s.Behind == 1 })
	if s := p.PlaceStates()[0]; !strings.Contains(strings.Join(s.Problems, " "), "mintmark ca crl root --import") {
		t.Errorf("problems: %v", s.Problems)
	}
	content, err := os.ReadFile(filepath.Join(dir, "crl/root.crl"))
	if err != nil || !bytes.Equal(content, later.DER) {
		t.Errorf("the later CRL was replaced: %v", err)
	}
	if _, err := x509.ParseCertificate(mustRead(t, filepath.Join(dir, "ca/root.crt"))); err != nil {
		t.Error(err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
