package sqldb_test

import (
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pgtest"
)

// Servers revoke at the same time, and a third one reads along: it sees each change once,
// whatever the order in which their transactions began.
func TestServersListChangesOnce(t *testing.T) {
	isolations(t, func(t *testing.T, url string) {
		servers := together(t, url, "alpha", "beta", "reader")
		const each = 20
		var serials [2][]ledger.Serial
		var want []ledger.Serial
		for s := range serials {
			for n := range each {
				serial, err := servers[s].enroll(fmt.Sprintf("dev-%d-%d", s, n), fmt.Sprintf("key-%d-%d", s, n))
				if err != nil {
					t.Fatal(err)
				}
				serials[s], want = append(serials[s], serial), append(want, serial)
			}
		}
		reader := servers[2]
		_, position, err := reader.ChangedSince(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		var wg sync.WaitGroup
		for s := range serials {
			for half := range 2 { // as two clients each
				wg.Go(func() {
					for _, serial := range serials[s][half*each/2 : (half+1)*each/2] {
						if _, err := servers[s].Revoke(t.Context(), ledger.Selector{Serial: serial}, ledger.Superseded, "anna", time.Now(), nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		go func() { wg.Wait(); close(over) }()
		var got []ledger.Serial
		for last := false; ; {
			part, next, err := reader.ChangedSince(t.Context(), position, 7)
			if err != nil {
				t.Fatal(err)
			}
			got, position = append(got, part...), next
			if last && len(part) == 0 {
				break
			}
			select {
			case <-over:
				last = true
			default:
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("listed %d changes, want %d", len(got), len(want))
		}
	})
}

// A change that was numbered and is not committed holds up those after it: were they
// seen before it, it would be skipped.
func TestChangesWaitForTheOneBefore(t *testing.T) {
	url := pgtest.Start(t).NewDatabase(t)
	m := together(t, url, "alpha")[0]
	serial, err := m.enroll("dev-1", "k1")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback()
	for _, text := range []string{
		`INSERT INTO counters (name, value) VALUES ('changes', 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1`,
		`INSERT INTO changes (number, serial) SELECT value, '\x0aff' FROM counters WHERE name = 'changes'`,
	} {
		if _, err := other.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	revoked := make(chan error)
	go func() {
		_, err := m.Revoke(t.Context(), ledger.Selector{Serial: serial}, ledger.Superseded, "anna", time.Now(), nil)
		revoked <- err
	}()
	waiting(t, url)
	if got, next, err := m.ChangedSince(t.Context(), "0", 0); err != nil || len(got) > 0 || next != "0" {
		t.Errorf("before the commit: %v, %q, %v", got, next, err)
	}
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-revoked; err != nil {
		t.Fatal(err)
	}
	got, next, err := m.ChangedSince(t.Context(), "0", 0)
	if err != nil || !slices.Equal(got, []ledger.Serial{"0aff", serial}) || next != "2" {
		t.Errorf("after it: %v, %q, %v", got, next, err)
	}
}
