package revocation_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
)

// world is a publisher over a real ledger, with a root and an issuing CA of ten years.
type world struct {
	t          *testing.T
	dir        string
	log        *audit.Log
	store      *sqldb.Store
	epoch      ledger.Epoch
	fence      ledger.Fence
	now        time.Time
	root, line *ca.Authority
	woken      int
	last       uint64 // serial number
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Now().Truncate(time.Second)}
	w.root, w.line = newAuthorities(t, w.now)
	w.open()
	return w
}

// newAuthorities makes "root" and "line-a" below it.
func newAuthorities(t testing.TB, now time.Time) (root, line *ca.Authority) {
	t.Helper()
	key, lineKey := pkitest.NewKey(t), pkitest.NewKey(t)
	authority := func(name string, key crypto.Signer, chain []*x509.Certificate, issue func(*x509.Certificate) (*ca.Prepared, error)) *ca.Authority {
		template, err := ca.Spec{Subject: pkix.Name{CommonName: name}, Validity: 10 * 365 * 24 * time.Hour}.Template(big.NewInt(now.UnixNano()), now.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		prepared, err := issue(template)
		if err != nil {
			t.Fatal(err)
		}
		prepared.Recorded()
		certificate, err := prepared.Issue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := ca.New(ca.Config{Name: name, Certificate: certificate, Chain: chain, Signer: func(context.Context) (crypto.Signer, error) { return key, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	root = authority("root", key, nil, func(c *x509.Certificate) (*ca.Prepared, error) { return ca.PrepareRoot(c, key) })
	line = authority("line-a", lineKey, []*x509.Certificate{root.Certificate()}, func(c *x509.Certificate) (*ca.Prepared, error) {
		c.NotAfter = root.Certificate().NotAfter
		return root.Prepare(c, lineKey.Public(), ca.Rules{CA: true})
	})
	return root, line
}

// openStore opens a ledger with its log.
func openStore(t testing.TB, dir string) (*sqldb.Store, *audit.Log) {
	t.Helper()
	log, err := audit.Open(dir, audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Server: "test", Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, log
}

// close closes the ledger, so that it can be copied.
func (w *world) close() {
	w.t.Helper()
	if err := errors.Join(w.store.Close(), w.log.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// open opens the ledger again.
func (w *world) open() {
	w.t.Helper()
	w.store, w.log = openStore(w.t, w.dir)
	var err error
	if w.epoch, err = w.store.Join(w.t.Context(), "test", w.now, 24*time.Hour); err != nil {
		w.t.Fatal(err)
	}
	w.lease()
}

func (w *world) lease() {
	w.t.Helper()
	var err error
	if w.fence, err = w.store.Acquire(w.t.Context(), "crl", "test", w.now, 24*time.Hour); err != nil {
		w.t.Fatal(err)
	}
}

// publisher is one of the authorities with shards of line-a.
func (w *world) publisher(shards int, change ...func(*revocation.Config)) *revocation.Publisher {
	c := revocation.Config{
		Ledger: w.store, Authorities: func() []*ca.Authority { return []*ca.Authority{w.root, w.line} },
		Period: time.Hour, Lifetime: 4 * time.Hour, Now: func() time.Time { return w.now }, Logger: slog.New(slog.DiscardHandler),
		Points: points, Wake: func() { w.woken++ },
	}
	if shards > 0 {
		c.Shards = map[string]int{"line-a": shards}
	}
	for _, f := range change {
		f(&c)
	}
	return revocation.New(c)
}

func points(authority string, shard int) []string {
	if shard == 0 {
		return []string{"http://pki.example/crl/" + authority + ".crl"}
	}
	return []string{fmt.Sprintf("http://pki.example/crl/%s/%d.crl", authority, shard)}
}

// revoked records certificates of a shard that are revoked.
func (w *world) revoked(shard, n int) {
	w.t.Helper()
	fill(w.t, w.store, w.epoch, w.now, n, func(int) int { return shard }, &w.last)
}

// fill has a ledger record n certificates of line-a, and revoke them.
func fill(t testing.TB, store *sqldb.Store, epoch ledger.Epoch, now time.Time, n int, shard func(i int) int, last *uint64) {
	t.Helper()
	const batch = 1000
	for from := 0; from < n; from += batch {
		var intents []ledger.Intent
		var issued []ledger.Issued
		for i := range min(batch, n-from) {
			*last++
			serial := ledger.Serial(hex.EncodeToString(binarySerial(*last)))
			key := [32]byte{1}
			copy(key[1:], binarySerial(*last))
			intents = append(intents, ledger.Intent{
				Epoch: epoch, Serial: serial, Issuer: "line-a", Profile: "device", Purpose: ledger.ForDevice, Device: "device-" + string(serial), Subject: "CN=" + string(serial),
				Requester: ledger.Requester{Kind: "password", Name: "station"}, Key: key, TBS: []byte("to be signed " + serial),
				NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), At: now, Shard: shard(from + i),
			})
			issued = append(issued, ledger.Issued{Serial: serial, DER: []byte("signed " + serial), At: now})
		}
		refusals, err := store.Begin(t.Context(), intents)
		if err == nil {
			refusals, err = store.Finish(t.Context(), issued)
		}
		for _, refusal := range refusals {
			if err == nil {
				err = refusal
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for after := ledger.Serial(""); ; {
		serials, err := store.Revoke(t.Context(), ledger.Selector{Issuer: "line-a", Limit: batch, After: after}, ledger.KeyCompromise, "test", now, nil)
		if errors.Is(err, ledger.ErrNotFound) || err == nil && len(serials) == 0 {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		after = serials[len(serials)-1]
	}
}

// binarySerial has the length of real ones.
func binarySerial(n uint64) []byte {
	b := make([]byte, 18)
	b[0] = 0x5a
	for i := range 8 {
		b[17-i] = byte(n >> (8 * i))
	}
	return b
}

func (w *world) publish(p *revocation.Publisher) {
	w.t.Helper()
	if err := p.PublishDue(w.t.Context(), w.fence); err != nil {
		w.t.Fatal(err)
	}
}

// numbers are those of the CRLs of line-a by shard.
func (w *world) numbers() map[int]int64 {
	w.t.Helper()
	list, err := w.store.CRLs(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	numbers := make(map[int]int64)
	for _, crl := range list {
		if crl.Issuer == "line-a" {
			numbers[crl.Shard] = crl.Number
		}
	}
	return numbers
}

// list is the stored CRL of a shard.
func (w *world) list(shard int) *x509.RevocationList {
	w.t.Helper()
	crl, err := w.store.LatestCRL(w.t.Context(), "line-a", shard)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(crl.DER)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(w.line.Certificate()); err != nil {
		w.t.Fatal(err)
	}
	return list
}

// get asks the handler.
func get(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}
