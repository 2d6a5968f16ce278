package sqldb_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
)

// TestScale fills a ledger and uses it as if it were new: a thousandth is
// revoked, and the CRL, the pages of a listing and one more enrollment must
// come out right. Ten thousand certificates, or a million with MINTMARK_LONG
// (make scale), where it also says how long things take.
func TestScale(t *testing.T) {
	n := 10_000
	if os.Getenv("MINTMARK_LONG") != "" {
		n = 1_000_000
	}
	store, _ := open(t, t.TempDir())
	now := time.Now()
	epoch, err := store.Join(t.Context(), "scale", now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	enroll := func(from, to int) []ledger.Intent {
		var intents []ledger.Intent
		var issued []ledger.Issued
		for i := from; i < to; i++ {
			name := fmt.Sprintf("device-%07d", i)
			intent := ledgertest.NewIntent(epoch, now, name, name)
			intents = append(intents, intent)
			issued = append(issued, ledgertest.Signed(intent, now))
		}
		for _, write := range []func() ([]error, error){
			func() ([]error, error) { return store.Begin(t.Context(), intents) },
			func() ([]error, error) { return store.Finish(t.Context(), issued) },
		} {
			refusals, err := write()
			if err != nil {
				t.Fatal(err)
			}
			for i, refusal := range refusals {
				if refusal != nil {
					t.Fatalf("%s: %v", intents[i].Device, refusal)
				}
			}
		}
		return intents
	}
	const batch = 250
	revoked := 0
	for i := 0; i < n; i += batch {
		began := time.Now()
		intents := enroll(i, i+batch)
		if i%(n/10) == 0 {
			t.Logf("%d certificates, %v for one more in a batch of %d", i, time.Since(began)/batch, batch)
		}
		if i%1000 == 0 {
			if _, err := store.Revoke(t.Context(), ledger.Selector{Serial: intents[0].Serial}, ledger.KeyCompromise, "test", now, nil); err != nil {
				t.Fatal(err)
			}
			revoked++
		}
	}

	fence, err := store.Acquire(t.Context(), "crl", "scale", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	issuer := ledgertest.NewIntent(epoch, now, "x", "x").Issuer
	work, err := store.NextCRL(t.Context(), fence, issuer, 0, now, time.Hour)
	if err != nil || len(work.Entries) != revoked {
		t.Fatalf("the CRL has %d entries, want %d: %v", len(work.Entries), revoked, err)
	}
	t.Logf("the CRL's %d entries in %v", revoked, time.Since(began))

	began = time.Now()
	seen := make(map[ledger.Serial]bool)
	for query := (ledger.Query{State: ledger.Valid, Limit: 1000}); ; {
		page, err := store.Certificates(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			if seen[c.Serial] {
				t.Fatalf("%s is on two pages", c.Serial)
			}
			seen[c.Serial] = true
		}
		if page.Next == "" {
			break
		}
		query.After = page.Next
	}
	if len(seen) != n-revoked {
		t.Errorf("the listing has %d certificates, want %d", len(seen), n-revoked)
	}
	t.Logf("all pages in %v", time.Since(began))

	began = time.Now()
	device, err := store.Device(t.Context(), "device-0000001")
	if err != nil || device.Certificates != 1 {
		t.Errorf("device: %+v %v", device, err)
	}
	t.Logf("one device in %v", time.Since(began))
	enroll(n, n+1)
}
