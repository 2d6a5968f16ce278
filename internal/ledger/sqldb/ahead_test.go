package sqldb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/pgtest"
)

// What the intents and certificates of one batch are told must be what they would be told one after
// the other, where nothing is asked ahead or gathered: the same intents are given to PostgreSQL in batches and to SQLite
// one by one. Few devices and keys, so that they meet.
func TestAskedAheadIsAskedInTurn(t *testing.T) {
	one, _ := open(t, t.TempDir())
	together := together(t, pgtest.Start(t).NewDatabase(t), "alpha")[0]
	epoch, err := one.Join(t.Context(), "alpha", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	random, now := rand.New(rand.NewPCG(1, 2)), time.Now()
	var issued []ledger.Serial
	var asked []ledger.Intent
	told := make(map[string]int)
	for round := range 150 {
		now = now.Add(time.Second)
		var turn, batch []ledger.Intent
		for range 2 + random.IntN(6) {
			i := ledgertest.NewIntent(epoch, now, fmt.Sprintf("dev-%d", random.IntN(50)), fmt.Sprintf("key-%d", random.IntN(150)))
			if len(issued) > 0 && random.IntN(2) == 0 {
				i.Requester.Kind, i.Requester.Name = "certificate", string(issued[random.IntN(len(issued))])
			}
			if len(issued) > 0 && random.IntN(20) == 0 {
				i.Serial = issued[random.IntN(len(issued))]
			}
			if len(asked) > 0 && random.IntN(4) == 0 {
				before := asked[random.IntN(len(asked))]
				i.Device, i.Key = before.Device, before.Key
			}
			asked = append(asked, i)
			i.Repeat = time.Duration(random.IntN(2)) * time.Hour
			turn = append(turn, i)
			i.Epoch = together.epoch
			batch = append(batch, i)
		}
		if round%5 == 4 {
			held, released := fmt.Sprintf("dev-%d", random.IntN(50)), fmt.Sprintf("dev-%d", random.IntN(20))
			for _, s := range []ledger.Inventory{one, together} {
				if _, err := s.HoldUnknown(t.Context(), held, ledger.Held, "test", "", now); err != nil {
					t.Fatal(err)
				}
				// One that nobody knows cannot be released.
				if _, err := s.HoldDevice(t.Context(), released, ledger.Expected, "test", "", now); err != nil && !errors.Is(err, ledger.ErrNotFound) {
					t.Fatal(err)
				}
			}
			if serial := issued[random.IntN(len(issued))]; random.IntN(2) == 0 {
				for _, s := range []ledger.Revocations{one, together} {
					if _, err := s.Revoke(t.Context(), ledger.Selector{Serial: serial}, ledger.Superseded, "test", now, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		inBatch, err := together.Begin(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		var done []ledger.Issued
		for n, i := range turn {
			inTurn, err := one.Begin(t.Context(), []ledger.Intent{i})
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(inTurn[0]) != fmt.Sprint(inBatch[n]) {
				t.Fatalf("round %d, intent %d for %s: %v in a batch, %v in turn", round, n, i.Device, inBatch[n], inTurn[0])
			}
			told[fmt.Sprintf("%T", inTurn[0])]++
			if inTurn[0] == nil && random.IntN(10) > 0 { // the others stay open
				done = append(done, ledgertest.Signed(i, now))
				issued = append(issued, i.Serial)
			}
		}
		if len(done) > 0 && random.IntN(4) == 0 {
			switch unfit := done[random.IntN(len(done))]; random.IntN(3) {
			case 0: // it is not open any more
				for _, s := range []ledger.Issuance{one, together} {
					if err := s.Void(t.Context(), unfit.Serial, now); err != nil {
						t.Fatal(err)
					}
				}
			case 1:
				done = append(done, unfit)
			case 2:
				unfit.DER = []byte("other bytes")
				done = append(done, unfit)
			}
		}
		finished, err := together.Finish(t.Context(), done)
		if err != nil {
			t.Fatal(err)
		}
		inTurn, err := one.Finish(t.Context(), done)
		if err != nil {
			t.Fatal(err)
		}
		for n := range done {
			if fmt.Sprint(inTurn[n]) != fmt.Sprint(finished[n]) {
				t.Fatalf("round %d, certificate %d: %v in a batch, %v in turn", round, n, finished[n], inTurn[n])
			}
			told[fmt.Sprintf("finished: %T", inTurn[n])]++
		}
	}
	// The test is worth what it has met.
	for _, kind := range []string{"finished: <nil>", "finished: *errors.errorString", "finished: *fmt.wrapError", "<nil>", "*ledger.PriorError", "*ledger.SharedKeyError", "*ledger.CloneError", "*ledger.DeviceError", "*fmt.wrapError", "*errors.errorString"} {
		if told[kind] == 0 {
			t.Errorf("nothing was told %s: %v", kind, told)
		}
	}
	for _, id := range []string{"dev-1", "dev-7", "dev-13"} {
		a, err := one.Device(t.Context(), id)
		b, errB := together.Device(t.Context(), id)
		if fmt.Sprint(a, err) != fmt.Sprint(b, errB) {
			t.Errorf("device %s: %v, %v in batches; %v, %v in turn", id, b, errB, a, err)
		}
	}
}
