package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
)

// TestScaleInventory imports a device list while certificates are issued, and
// uses it. Ten thousand devices, or a million with MINTMARK_LONG (make scale),
// where it also says how long things take, what they need in memory and how
// long a request had to wait for its intent meanwhile.
func TestScaleInventory(t *testing.T) {
	n := 10_000
	if os.Getenv("MINTMARK_LONG") != "" {
		n = 1_000_000
	}
	store, _ := open(t, t.TempDir())
	now := time.Now()
	epoch, err := store.Join(t.Context(), "alpha", now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	chunk := func(from int) []ledger.Listing {
		rows := make([]ledger.Listing, min(1000, n-from))
		for k := range rows {
			i := from + k
			rows[k] = ledger.Listing{Row: i + 1, Device: fmt.Sprintf("SN-%08d", i), Product: "gateway", Order: "wo-1", Fields: map[string]string{
				"batch": fmt.Sprintf("B%05d", i/500), "mac": fmt.Sprintf("02:00:%08x", i), "imei": fmt.Sprintf("%015d", random.Int64N(1e15)),
			}}
		}
		return rows
	}
	stage := func(id string, n int, update bool) time.Duration {
		began := time.Now()
		if err := store.OpenImport(t.Context(), ledger.Import{ID: id, File: "list.csv", Actor: "alice", At: now, Server: "alpha", Update: update}); err != nil {
			t.Fatal(err)
		}
		for from := 0; from < n; from += 1000 {
			if err := store.StageDevices(t.Context(), id, chunk(from)); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	commit := func(id string, want ledger.Import) {
		began := time.Now()
		i, err := store.CommitImport(t.Context(), id, time.Now())
		if err != nil || i.Devices != want.Devices || i.New != want.New {
			t.Fatalf("commit: %+v, %v", i, err)
		}
		t.Logf("%s in force after %v", id, time.Since(began))
	}

	before := resident(t)
	stopped := watch(t, store, epoch)
	took := stage("dropped", n, false)
	most, longest, begun := stopped()
	t.Logf("%d devices staged in %v; memory %d MB, before %d MB; of %d intents meanwhile the slowest took %v", n, took, most>>20, before>>20, begun, longest)

	stopped = watch(t, store, epoch)
	began := time.Now()
	if err := store.DropImport(t.Context(), "dropped"); err != nil {
		t.Fatal(err)
	}
	_, longest, begun = stopped()
	t.Logf("dropped in %v; of %d intents meanwhile the slowest took %v", time.Since(began), begun, longest)
	if all, err := store.Devices(t.Context(), ledger.DeviceQuery{State: ledger.Expected}); err != nil || len(all) != 0 {
		t.Fatalf("%d devices of a dropped list: %v", len(all), err)
	}

	began = time.Now()
	cpu := cpuTime()
	stopped = watch(t, store, epoch)
	stage("first", n, false)
	commit("first", ledger.Import{Devices: n, New: n})
	most, longest, begun = stopped()
	t.Logf("%d devices in force in %v, %v of computing; memory %d MB; of %d intents meanwhile the slowest took %v", n, time.Since(began), cpuTime()-cpu, most>>20, begun, longest)

	find := func(query ledger.DeviceQuery, want int) {
		t.Helper()
		began := time.Now()
		query.Limit = 1000
		all, err := store.Devices(t.Context(), query)
		if err != nil || len(all) != min(1000, want) {
			t.Errorf("%+v: %d devices, want %d: %v", query, len(all), want, err)
		}
		t.Logf("%+v in %v", query, time.Since(began))
	}
	last := fmt.Sprintf("SN-%08d", n-2)
	find(ledger.DeviceQuery{}, n)
	find(ledger.DeviceQuery{State: ledger.Expected, After: last}, 1)
	find(ledger.DeviceQuery{State: ledger.Enrolled}, 0)
	find(ledger.DeviceQuery{State: ledger.Held}, 0)
	find(ledger.DeviceQuery{Product: "gateway", After: last}, 1)
	find(ledger.DeviceQuery{Order: "wo-2"}, 0)
	find(ledger.DeviceQuery{Text: "02:00:"}, n)
	find(ledger.DeviceQuery{Text: "02:00:00000100"}, 1)
	find(ledger.DeviceQuery{Text: "B00003"}, 500)
	find(ledger.DeviceQuery{Text: "SN-", After: last}, 1)
	find(ledger.DeviceQuery{Text: "nothing"}, 0)
	changing, err := store.Device(t.Context(), "SN-00000007")
	if err != nil {
		t.Fatal(err)
	}
	find(ledger.DeviceQuery{Text: changing.Fields["imei"]}, 1)

	// The first ten thousand get new IMEIs, which is as many as one import may
	// change.
	t.Logf("10000 changes staged in %v", stage("second", 10_000, true))
	var row *ledger.RowError
	one := []ledger.Listing{{Row: n + 1, Device: fmt.Sprintf("SN-%08d", n-1), Product: "sensor"}}
	if n == 10_000 {
		// All are in the list: another one has to be listed first.
		one[0].Device = "SN-other"
		if err := listOne(t, store, "other", ledger.Listing{Row: 1, Device: "SN-other"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.StageDevices(t.Context(), "second", one); !errors.As(err, &row) || row.Row != n+1 {
		t.Errorf("one change too many: %v", err)
	}
	stopped = watch(t, store, epoch)
	commit("second", ledger.Import{Devices: 10_000})
	_, longest, begun = stopped()
	t.Logf("of %d intents meanwhile the slowest took %v", begun, longest)
	find(ledger.DeviceQuery{Text: changing.Fields["imei"]}, 0)
	changed, err := store.Device(t.Context(), "SN-00000007")
	if err != nil {
		t.Fatal(err)
	}
	find(ledger.DeviceQuery{Text: changed.Fields["imei"]}, 1)
}

func listOne(t *testing.T, store ledger.Ledger, id string, l ledger.Listing) error {
	err := store.OpenImport(t.Context(), ledger.Import{ID: id, At: time.Now()})
	if err == nil {
		err = store.StageDevices(t.Context(), id, []ledger.Listing{l})
	}
	if err == nil {
		_, err = store.CommitImport(t.Context(), id, time.Now())
	}
	return err
}

// watch begins an intent every millisecond until it is told to stop. It then
// says how much memory was resident at most, in bytes, and how long the slowest
// intent of how many took.
func watch(t *testing.T, store ledger.Ledger, epoch ledger.Epoch) (stop func() (most int64, longest time.Duration, begun int)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var most int64
	var longest time.Duration
	begun := 0
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := time.Now()
			serial := string(ledgertest.NewSerial(now))
			results, err := store.Begin(context.Background(), []ledger.Intent{ledgertest.NewIntent(epoch, now, serial, serial)})
			if err != nil || results[0] != nil {
				t.Error(results, err)
				return
			}
			longest = max(longest, time.Since(now))
			if begun++; begun%16 == 0 {
				most = max(most, resident(t))
			}
		}
	})
	return func() (int64, time.Duration, int) {
		cancel()
		wg.Wait()
		return max(most, resident(t)), longest, begun
	}
}

// resident is the memory of this process, in bytes.
func resident(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Error(err)
	}
	return pages * int64(os.Getpagesize())
}
