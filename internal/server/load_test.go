package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// device is one device with its key.
type device struct {
	name string
	key  crypto.Signer
	csr  []byte
}

func newDevice(t testing.TB, name string) device {
	key := pkitest.NewKey(t)
	return device{name, key, pkitest.CSR(t, key, pkix.Name{CommonName: name})}
}

// receipt is a certificate that a device has received.
type receipt struct {
	device      device
	certificate *x509.Certificate
}

// fleet enrolls devices and remembers what they received.
type fleet struct {
	t  testing.TB
	mu sync.Mutex

	made       int
	unanswered []device // asked, and do not know what became of it
	receipts   []receipt
}

// next is a device that has no certificate: first those that were let down.
func (f *fleet) next() device {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.unanswered); n > 0 {
		d := f.unanswered[n-1]
		f.unanswered = f.unanswered[:n-1]
		return d
	}
	f.made++
	return newDevice(f.t, fmt.Sprintf("device-%d", f.made))
}

// enroll asks for one device and remembers the outcome.
func (f *fleet) enroll(ctx context.Context, client *est.Client, d device) error {
	certificate, err := client.Enroll(ctx, d.csr)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.unanswered = append(f.unanswered, d)
		return err
	}
	f.receipts = append(f.receipts, receipt{d, certificate})
	return nil
}

// run enrolls devices from n connections until ctx ends or the server goes
// away. A refusal is only for a time; any but 503 is a fault.
func (f *fleet) run(ctx context.Context, c *child, n int) {
	var wait sync.WaitGroup
	for range n {
		client := c.client(f.t)
		wait.Go(func() {
			for ctx.Err() == nil {
				err := f.enroll(ctx, client, f.next())
				var status *est.StatusError
				switch {
				case err == nil:
				case errors.As(err, &status) && status.Code == 503:
					select {
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond):
					}
				case errors.As(err, &status):
					f.t.Errorf("under load: %v", err)
					return
				default:
					return // the server is gone
				}
			}
		})
	}
	wait.Wait()
}

func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.receipts)
}

// records reads the ledger of a state directory that nobody serves. It compares
// ledger and log as every opening does, but voids nothing as a server would.
func records(t testing.TB, dir string) map[ledger.Serial]ledger.Certificate {
	t.Helper()
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "mintmark"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	all := listAll(t, store)

	// The log must tell the same: every certificate once, with the same bytes.
	logged := make(map[ledger.Serial][]byte)
	for batch, err := range log.Batches(ledger.Head{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch.Events {
			if e.Kind != ledger.EventIssued || batch.Aborted {
				continue
			}
			if _, twice := logged[e.Issued.Serial]; twice {
				t.Errorf("the log has certificate %s twice", e.Issued.Serial)
			}
			logged[e.Issued.Serial] = e.Issued.DER
		}
	}
	issued := 0
	for serial, r := range all {
		if r.State == ledger.Valid || r.State == ledger.Revoked {
			issued++
			if !bytes.Equal(logged[serial], r.DER) {
				t.Errorf("certificate %s has other bytes in the log (%d) than in the ledger (%d)", serial, len(logged[serial]), len(r.DER))
			}
		}
	}
	if issued != len(logged) {
		t.Errorf("%d certificates in the ledger, %d in the log", issued, len(logged))
	}
	if _, err := audit.Verify(filepath.Join(dir, "log")); err != nil {
		t.Errorf("the issuance log: %v", err)
	}
	return all
}

// listAll lists everything in a ledger.
func listAll(t testing.TB, l ledger.Certificates) map[ledger.Serial]ledger.Certificate {
	t.Helper()
	all := make(map[ledger.Serial]ledger.Certificate)
	query := ledger.Query{Limit: 1000}
	for {
		page, err := l.Certificates(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			all[c.Serial] = c
		}
		if query.After = page.Next; page.Next == "" {
			return all
		}
	}
}

// check reads what a server has left and compares it with what the devices
// received: everything that left is recorded, byte for byte, and valid; no
// intent is open; no key has two certificates.
func (f *fleet) check(dir string) map[ledger.Serial]ledger.Certificate {
	f.t.Helper()
	all := records(f.t, dir)
	keys := make(map[string]ledger.Serial)
	for serial, r := range all {
		if r.State == ledger.Open {
			f.t.Errorf("the intent %s of device %s is open", serial, r.Device)
		}
		if r.Purpose == ledger.ForDevice && r.State == ledger.Valid {
			id := r.Device + " " + string(r.Key[:])
			if other, twice := keys[id]; twice {
				f.t.Errorf("device %s has two certificates for one key: %s, %s", r.Device, serial, other)
			}
			keys[id] = serial
		}
	}
	owners := make(map[ledger.Serial]string)
	for _, got := range f.receipts {
		serial := issuer.SerialOf(got.certificate.SerialNumber)
		r, ok := all[serial]
		switch {
		case !ok:
			f.t.Errorf("device %s received certificate %s, which is not in the ledger", got.device.name, serial)
		case r.State != ledger.Valid || !bytes.Equal(r.DER, got.certificate.Raw) || r.Device != got.device.name:
			f.t.Errorf("device %s received certificate %s; the ledger has it %s, for %s, equal bytes: %v",
				got.device.name, serial, r.State, r.Device, bytes.Equal(r.DER, got.certificate.Raw))
		}
		if owner, taken := owners[serial]; taken && owner != got.device.name {
			f.t.Errorf("serial %s went to %s and to %s", serial, owner, got.device.name)
		}
		owners[serial] = got.device.name
	}
	return all
}
