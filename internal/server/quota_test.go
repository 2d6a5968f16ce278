package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/internal/pgtest"
	"mintmark/issuer/est"
)

const (
	quotaOrder  = "wo-1000"
	quotaRacers = 64
)

// quotaSize is how many certificates the order is for.
func quotaSize() int {
	if testing.Short() {
		return 100
	}
	return 1000
}

// TestQuotaKill lets 64 clients race on an order for 1000 certificates against
// one server on SQLite, which is killed on the way: 1000 are issued.
func TestQuotaKill(t *testing.T) {
	dir := newState(t)
	orderLabel(t, dir)
	secret := openOrder(t, dir)

	var mu sync.Mutex
	server := startChild(t, dir)
	address := func() string {
		mu.Lock()
		defer mu.Unlock()
		return server.est
	}
	r := &race{t: t, dir: dir, secret: secret, addresses: []func() string{address}}
	r.run(t.Context(), func() {
		server.kill()
		again := startChild(t, dir)
		mu.Lock()
		server = again
		mu.Unlock()
	})
	server.stop(t)
	r.check(dir)
	records(t, dir) // log and ledger agree
}

// TestQuotaTwoServers is the same against two servers on one PostgreSQL
// database, one of which is killed and does not come back.
func TestQuotaTwoServers(t *testing.T) {
	database := pgtest.Start(t).NewDatabase(t)
	first, second := newServers(t, database)
	secret := openOrder(t, first)

	a, b := startChild(t, first), startChild(t, second)
	r := &race{t: t, dir: first, secret: secret, addresses: []func() string{
		func() string { return a.est }, func() string { return b.est },
	}}
	r.run(t.Context(), a.kill)
	b.stop(t)
	r.check(second)
}

// newServers makes the state directories of two servers on one database.
func newServers(t testing.TB, database string) (first, second string) {
	t.Helper()
	first = filepath.Join(t.TempDir(), "first")
	o := InitOptions{Dir: first, Server: "first", Names: []string{"localhost", "127.0.0.1"}, Database: database}
	if err := Init(t.Context(), o, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	orderLabel(t, first)
	// What docs/scale.md says: configuration, keys and their passphrase are the
	// same, name, log and head key are the server's own.
	second = filepath.Join(t.TempDir(), "second")
	copyState(t, second, first)
	editConfig(t, second, "server: first", "server: second")
	for _, own := range []string{"log", "heads", "tls", "secrets/audit-key"} {
		if err := os.RemoveAll(filepath.Join(second, own)); err != nil {
			t.Fatal(err)
		}
	}
	for _, empty := range []string{"log", "tls"} {
		if err := os.Mkdir(filepath.Join(second, empty), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return first, second
}

// orderLabel adds a label for work orders to a configuration.
func orderLabel(t testing.TB, dir string) {
	t.Helper()
	path := filepath.Join(dir, config.File)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The list of labels is the last thing in the file.
	if _, err := f.WriteString("  - name: orders\n    profile: device\n    issuer: issuing\n    authorize: order\n    own: [device]\n"); err != nil {
		t.Fatal(err)
	}
	// All clients share an address, as behind a station: the limit of one is no matter of quotas.
	editConfig(t, dir, "profiles:\n", "limits: {stations: [127.0.0.0/8, \"::1/128\"]}\nprofiles:\n")
}

// openOrder records the order and returns its secret.
func openOrder(t testing.TB, dir string) string {
	t.Helper()
	secret := rand.Text()
	withServer(t, dir, func(s *Server) {
		now := s.ra.Now()
		err := s.ledger.CreateOrder(t.Context(), ledger.Order{
			ID: quotaOrder, Profile: "device", Label: "orders", Quantity: quotaSize(),
			NotBefore: now, NotAfter: now.Add(24 * time.Hour), Secret: sha256.Sum256([]byte(secret)),
			State: ledger.OrderOpen, CreatedAt: now, CreatedBy: "test",
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return secret
}

// withServer opens a state directory as a command without a server does.
func withServer(t testing.TB, dir string, fn func(*Server)) {
	t.Helper()
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), c, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	fn(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// race is many clients on one order.
type race struct {
	t         testing.TB
	dir       string // for the trust anchor
	secret    string
	addresses []func() string // of the servers; a dead one is passed over

	started  atomic.Int64
	answered atomic.Int64
	mu       sync.Mutex
	receipts []receipt
}

// run has every client enroll one device after the other, asking again until
// it is answered, until all of them have heard that the order is exhausted. In
// the middle it calls disturb.
func (r *race) run(ctx context.Context, disturb func()) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*patience)
	defer cancel()
	var wait sync.WaitGroup
	for i := range quotaRacers {
		wait.Go(func() { r.client(ctx, i) })
	}
	for r.answered.Load() < int64(quotaSize()/3) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	disturb()
	wait.Wait()
	if ctx.Err() != nil {
		r.t.Fatalf("the race has not ended: %d certificates", r.answered.Load())
	}
}

func (r *race) client(ctx context.Context, n int) {
	for ctx.Err() == nil {
		d := newDevice(r.t, fmt.Sprintf("unit-%06d", r.started.Add(1)))
		if !r.enroll(ctx, n, d) {
			return
		}
	}
}

// enroll asks for a device until there is an answer; false when the order has
// nothing left.
func (r *race) enroll(ctx context.Context, n int, d device) bool {
	for try := n; ctx.Err() == nil; try++ {
		address := r.addresses[try%len(r.addresses)]()
		client := &est.Client{URL: "https://" + address, Label: "orders", RootCAs: roots(r.t, r.dir), User: quotaOrder, Password: r.secret}
		certificate, err := client.Enroll(ctx, d.csr)
		var status *est.StatusError
		switch {
		case err == nil:
			r.mu.Lock()
			r.receipts = append(r.receipts, receipt{d, certificate})
			r.mu.Unlock()
			r.answered.Add(1)
			return true
		case errors.As(err, &status) && status.Code == 503:
			// The last units are in flight, or the server is not ready yet.
			time.Sleep(50 * time.Millisecond)
		case errors.As(err, &status) && strings.Contains(err.Error(), "order-exhausted"):
			return false
		case errors.As(err, &status):
			r.t.Errorf("device %s: %v", d.name, err)
			return false
		default: // the server is gone
			time.Sleep(20 * time.Millisecond)
		}
	}
	return false
}

// check compares what the clients have with what the ledger says.
func (r *race) check(dir string) {
	r.t.Helper()
	withServer(r.t, dir, func(s *Server) {
		order, err := s.ledger.Order(r.t.Context(), quotaOrder)
		if err != nil {
			r.t.Fatal(err)
		}
		usage, err := s.ledger.OrderUsage(r.t.Context(), quotaOrder)
		if err != nil {
			r.t.Fatal(err)
		}
		if order.Taken != quotaSize() || usage.Issued != quotaSize() || usage.Open != 0 || usage.Left != 0 {
			r.t.Errorf("taken %d, issued %d, open %d, left %d: want %d certificates", order.Taken, usage.Issued, usage.Open, usage.Left, quotaSize())
		}
		all := listAll(r.t, s.ledger)
		for _, got := range r.receipts {
			record := all[ledger.Serial(fmt.Sprintf("%x", got.certificate.SerialNumber.Bytes()))]
			if string(record.DER) != string(got.certificate.Raw) || record.State != ledger.Valid || record.Order != quotaOrder {
				r.t.Errorf("device %s received a certificate that the ledger does not have like that", got.device.name)
			}
		}
	})
	if len(r.receipts) != quotaSize() {
		r.t.Errorf("%d clients have received a certificate, want %d", len(r.receipts), quotaSize())
	}
	r.t.Logf("%d devices asked, %d have a certificate", r.started.Load(), len(r.receipts))
}
