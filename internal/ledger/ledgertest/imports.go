package ledgertest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// refusedRow checks that an error names a row and says why.
func (b *bench) refusedRow(err error, row int, device string, words ...string) {
	b.t.Helper()
	var refusal *ledger.RowError
	if !errors.As(err, &refusal) || refusal.Row != row || refusal.Device != device {
		b.t.Fatalf("error is %v, want row %d, device %q", err, row, device)
	}
	for _, word := range words {
		if !strings.Contains(refusal.Reason, word) {
			b.t.Errorf("reason %q does not say %q", refusal.Reason, word)
		}
	}
}

// open lists the identifiers of the open imports.
func (b *bench) open() []string {
	b.t.Helper()
	imports, err := b.OpenImports(b.ctx)
	b.ok(err)
	var all []string
	for _, i := range imports {
		all = append(all, i.ID)
	}
	return all
}

var importChecks = []check{
	{"nothing of an import counts before it is in force", func(t *testing.T, b *bench) {
		b.openImport("i1", false, ledger.Listing{Row: 1, Device: "dev-1", Product: "gateway", Fields: map[string]string{"batch": "b7"}})
		unknown := func() {
			t.Helper()
			_, err := b.Device(b.ctx, "dev-1")
			b.want(err, ledger.ErrNotFound)
			for _, q := range []ledger.DeviceQuery{{}, {Text: "dev"}, {Text: "b7"}, {Product: "gateway"}, {Import: "i1"}, {State: ledger.Expected}} {
				b.equal("found", len(b.found(q)), 0)
			}
			_, err = b.Revoke(b.ctx, ledger.Selector{Device: "dev-1"}, ledger.Superseded, "officer", b.now, nil)
			b.want(err, ledger.ErrNotFound)
		}
		unknown()
		b.equal("open", b.open(), []string{"i1"})
		b.ok(b.DropImport(b.ctx, "i1"))
		unknown()
		b.equal("open", b.open(), []string(nil))
	}},
	{"a committed import says what it was", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-0", "k0"))
		b.listed("i1", rows("dev-1", "dev-2")...)
		at := b.now
		b.openImport("i2", false, rows("dev-0", "dev-1", "dev-3")...)
		b.ok(b.StageDevices(b.ctx, "i2", []ledger.Listing{{Row: 4, Device: "dev-4"}}))
		b.now = b.now.Add(time.Minute)
		i, err := b.CommitImport(b.ctx, "i2", b.now)
		b.ok(err)
		b.equal("import", i, ledger.Import{ID: "i2", File: "i2.csv", Actor: "alice", At: at, Server: "alpha", Devices: 4, New: 3})
		d, err := b.Device(b.ctx, "dev-3")
		b.ok(err)
		b.equal("listed at", d.ListedAt, b.now)
		d, err = b.Device(b.ctx, "dev-1") // known: nothing of it has changed
		b.ok(err)
		b.equal("known", d.Import, "i1")
	}},
	{"open imports say what they are, oldest first", func(t *testing.T, b *bench) {
		first := ledger.Import{ID: "z", File: "a.csv", Actor: "alice", At: b.now, Update: true, Server: "beta"}
		second := ledger.Import{ID: "a", File: "b.csv", Actor: "bob", At: b.now.Add(time.Second), Server: "alpha"}
		b.ok(b.OpenImport(b.ctx, second))
		b.ok(b.OpenImport(b.ctx, first))
		b.ok(b.StageDevices(b.ctx, "z", rows("dev-1")))
		all, err := b.OpenImports(b.ctx)
		b.ok(err)
		b.equal("imports", all, []ledger.Import{first, second})
	}},
	{"a name is taken once", func(t *testing.T, b *bench) {
		b.listed("i1", rows("dev-1")...)
		b.openImport("i2", false, rows("dev-2")...)
		b.openImport("i3", false)
		b.ok(b.DropImport(b.ctx, "i3"))
		for _, id := range []string{"i1", "i2", "i3"} {
			b.want(b.OpenImport(b.ctx, ledger.Import{ID: id, At: b.now}), ledger.ErrTaken)
		}
	}},
	{"only an open import can be written, committed or dropped", func(t *testing.T, b *bench) {
		b.listed("i1", rows("dev-1")...)
		b.openImport("i2", false, rows("dev-2")...)
		b.ok(b.DropImport(b.ctx, "i2"))
		for _, id := range []string{"i1", "i2", "i3"} {
			b.want(b.StageDevices(b.ctx, id, rows("dev-9")), ledger.ErrNotFound)
			_, err := b.CommitImport(b.ctx, id, b.now)
			b.want(err, ledger.ErrNotFound)
			b.want(b.DropImport(b.ctx, id), ledger.ErrNotFound)
		}
		b.equal("devices", b.found(ledger.DeviceQuery{}), []string{"dev-1"})
	}},
	{"a device is in a list once", func(t *testing.T, b *bench) {
		b.openImport("i1", false, rows("dev-1", "dev-2")...)
		b.refusedRow(b.StageDevices(b.ctx, "i1", []ledger.Listing{{Row: 3, Device: "dev-3"}, {Row: 4, Device: "dev-2"}}), 4, "dev-2", "row 2")
		b.refusedRow(b.StageDevices(b.ctx, "i1", []ledger.Listing{{Row: 3, Device: "dev-3"}, {Row: 4, Device: "dev-4"}, {Row: 5, Device: "dev-3"}}), 5, "dev-3", "row 3")
		b.ok(b.StageDevices(b.ctx, "i1", []ledger.Listing{{Row: 3, Device: "dev-3"}})) // nothing of the refused chunks is there
		i, err := b.CommitImport(b.ctx, "i1", b.now)
		b.ok(err)
		b.equal("devices", i.Devices, 3)
		b.equal("found", b.found(ledger.DeviceQuery{}), []string{"dev-1", "dev-2", "dev-3"})
	}},
	{"a known device is in a list once, too", func(t *testing.T, b *bench) {
		b.listed("i1", rows("dev-1")...)
		b.openImport("i2", true, rows("dev-1")...)
		b.refusedRow(b.StageDevices(b.ctx, "i2", []ledger.Listing{{Row: 9, Device: "dev-1"}}), 9, "dev-1", "row 1")
		b.refusedRow(b.StageDevices(b.ctx, "i2", []ledger.Listing{{Row: 9, Device: "dev-1", Product: "x"}}), 9, "dev-1", "row 1")
	}},
	{"a device is in one open list", func(t *testing.T, b *bench) {
		b.listed("i0", rows("old")...)
		b.openImport("i1", true, ledger.Listing{Row: 1, Device: "new"}, ledger.Listing{Row: 2, Device: "old", Product: "p"})
		b.openImport("i2", true)
		b.refusedRow(b.StageDevices(b.ctx, "i2", []ledger.Listing{{Row: 7, Device: "new"}}), 7, "new", "i1.csv", "row 1")
		b.refusedRow(b.StageDevices(b.ctx, "i2", []ledger.Listing{{Row: 7, Device: "old"}}), 7, "old", "i1.csv", "row 2")
		b.ok(b.DropImport(b.ctx, "i1"))
		b.ok(b.StageDevices(b.ctx, "i2", []ledger.Listing{{Row: 7, Device: "new", Product: "p"}, {Row: 8, Device: "old", Product: "q"}}))
		_, err := b.CommitImport(b.ctx, "i2", b.now)
		b.ok(err)
		b.equal("p", b.found(ledger.DeviceQuery{Product: "p"}), []string{"new"})
		b.equal("q", b.found(ledger.DeviceQuery{Product: "q"}), []string{"old"})
	}},
	{"a row that says something else is refused and named", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-1", Product: "gateway", Key: Key("k1"), Fields: map[string]string{"mac": "02", "batch": "b7"}})
		same := ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-1", Product: "gateway", Key: Key("k1"), Fields: map[string]string{"batch": "b7", "mac": "02"}}
		for n, c := range []struct {
			change func(*ledger.Listing)
			words  []string
		}{
			{func(l *ledger.Listing) { l.Order = "wo-2" }, []string{"order", "wo-1", "wo-2"}},
			{func(l *ledger.Listing) { l.Product = "sensor" }, []string{"product", "gateway", "sensor"}},
			{func(l *ledger.Listing) { l.Key = [32]byte{} }, []string{"key"}},
			{func(l *ledger.Listing) { l.Fields = map[string]string{"mac": "03", "batch": "b7"} }, []string{"mac", "02", "03"}},
			{func(l *ledger.Listing) { l.Fields = map[string]string{"mac": "02"} }, []string{"batch", "b7"}},
			{func(l *ledger.Listing) { l.Fields = nil }, []string{"batch", "mac"}},
			{func(l *ledger.Listing) { l.Fields = map[string]string{"mac": "02", "batch": "b7", "note": "x"} }, []string{"note", "x"}},
		} {
			id := fmt.Sprint("other-", n)
			row := same
			row.Row = 2
			c.change(&row)
			b.openImport(id, false, rows("new")...)
			err := b.StageDevices(b.ctx, id, []ledger.Listing{row})
			if err == nil { // or, at the latest, when it is to be in force
				_, err = b.CommitImport(b.ctx, id, b.now)
			}
			b.refusedRow(err, 2, "dev-1", c.words...)
			b.ok(b.DropImport(b.ctx, id))
		}
		b.equal("devices", b.found(ledger.DeviceQuery{}), []string{"dev-1"})
		i := b.listed("same", same)
		b.equal("devices", i.Devices, 1)
		b.equal("new", i.New, 0)
	}},
	{"an import that may update changes what is listed", func(t *testing.T, b *bench) {
		b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-1", Product: "gateway", Key: Key("k1"), Fields: map[string]string{"mac": "02:aa", "batch": "b7"}})
		before, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.now = b.now.Add(time.Minute)
		b.openImport("i2", true, ledger.Listing{Row: 1, Device: "dev-1", Product: "sensor", Fields: map[string]string{"mac": "02:bb"}})
		got, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("not in force", got, before)
		b.equal("not in force", b.found(ledger.DeviceQuery{Text: "02:bb"}), []string(nil))
		i, err := b.CommitImport(b.ctx, "i2", b.now)
		b.ok(err)
		b.equal("new", i.New, 0)
		got, err = b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("device", got, ledger.Device{ID: "dev-1", State: ledger.Expected, Listed: true, Import: "i2", Product: "sensor", Fields: map[string]string{"mac": "02:bb"}, ListedAt: b.now})
		for text, want := range map[string][]string{"02:bb": {"dev-1"}, "02:aa": nil, "b7": nil, "wo-1": nil, "gateway": nil, "sensor": {"dev-1"}} {
			b.equal(text, b.found(ledger.DeviceQuery{Text: text}), want)
		}
		b.listed("i3", ledger.Listing{Row: 1, Device: "dev-1", Product: "sensor", Fields: map[string]string{"mac": "02:bb"}})
	}},
	{"a dropped import leaves nothing", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("enrolled", "k1"))
		b.listed("i0", ledger.Listing{Row: 1, Device: "old", Product: "gateway"})
		enrolled, err := b.Device(b.ctx, "enrolled")
		b.ok(err)
		old, err := b.Device(b.ctx, "old")
		b.ok(err)
		row := func(n int, id string) ledger.Listing {
			return ledger.Listing{Row: n, Device: id, Product: "sensor", Fields: map[string]string{"mac": "02:" + id}}
		}
		b.openImport("i1", true, row(1, "enrolled"), row(2, "old"), row(3, "new"), row(4, "later"))
		b.issue(b.intent("later", "k4")) // before the list is in force
		b.ok(b.DropImport(b.ctx, "i1"))
		b.equal("devices", b.found(ledger.DeviceQuery{}), []string{"enrolled", "later", "old"})
		b.equal("by text", len(b.found(ledger.DeviceQuery{Text: "02:"})), 0)
		b.equal("by product", len(b.found(ledger.DeviceQuery{Product: "sensor"})), 0)
		got, err := b.Device(b.ctx, "enrolled")
		b.ok(err)
		b.equal("enrolled", got, enrolled)
		b.equal("current", got.Current, serial)
		got, err = b.Device(b.ctx, "old")
		b.ok(err)
		b.equal("old", got, old)
		got, err = b.Device(b.ctx, "later")
		b.ok(err)
		if got.Listed || got.Certificates != 1 || got.Product != "" || got.Fields != nil || got.State != ledger.Enrolled {
			t.Errorf("%+v", got)
		}
		i := b.listed("i2", row(1, "new"), row(2, "later"))
		b.equal("new", i.New, 2)
	}},
	{"a device that enrolls before its list is in force is in it all the same", func(t *testing.T, b *bench) {
		b.openImport("i1", false, ledger.Listing{Row: 1, Device: "dev-1", Product: "gateway"})
		b.now = b.now.Add(time.Minute)
		serial := b.issue(b.intent("dev-1", "k1"))
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		want := ledger.Device{ID: "dev-1", State: ledger.Enrolled, FirstSeen: b.now, LastIssued: b.now, Certificates: 1, Current: serial}
		b.equal("not in force", d, want)
		_, err = b.CommitImport(b.ctx, "i1", b.now)
		b.ok(err)
		want.Listed, want.Import, want.Product, want.ListedAt = true, "i1", "gateway", b.now
		d, err = b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("in force", d, want)
	}},
	{"a large list is dropped in parts until nothing is left", func(t *testing.T, b *bench) {
		b.listed("i0", rows("known-1", "known-2")...)
		b.ok(b.OpenImport(b.ctx, ledger.Import{ID: "i1", At: b.now}))
		for n := range 3 {
			var part []ledger.Listing
			for k := range 700 {
				part = append(part, ledger.Listing{Row: n*1000 + k, Device: fmt.Sprintf("dev-%d-%d", n, k), Fields: map[string]string{"mac": fmt.Sprint("mac-", n, "-", k)}})
			}
			b.ok(b.StageDevices(b.ctx, "i1", part))
		}
		b.ok(b.StageDevices(b.ctx, "i1", []ledger.Listing{{Row: 5000, Device: "known-1"}}))
		b.ok(b.DropImport(b.ctx, "i1"))
		b.equal("devices", b.found(ledger.DeviceQuery{Limit: 1000}), []string{"known-1", "known-2"})
		b.equal("by text", len(b.found(ledger.DeviceQuery{Text: "mac"})), 0)
	}},
	{"rows that cannot be kept are named", func(t *testing.T, b *bench) {
		b.ok(b.OpenImport(b.ctx, ledger.Import{ID: "i1", At: b.now}))
		long := strings.Repeat("x", 5000)
		for name, l := range map[string]ledger.Listing{
			"no device":    {Row: 7},
			"long device":  {Row: 7, Device: long},
			"long order":   {Row: 7, Device: "d", Order: long},
			"long product": {Row: 7, Device: "d", Product: long},
			"long value":   {Row: 7, Device: "d", Fields: map[string]string{"note": long}},
			"long name":    {Row: 7, Device: "d", Fields: map[string]string{long: "x"}},
			"not UTF-8":    {Row: 7, Device: "d\xff"},
			"zero byte":    {Row: 7, Device: "d", Fields: map[string]string{"note": "a\x00b"}},
		} {
			t.Run(name, func(t *testing.T) {
				b.refusedRow(b.StageDevices(b.ctx, "i1", []ledger.Listing{{Row: 6, Device: "good"}, l}), 7, l.Device)
			})
		}
		wide := make([]ledger.Listing, 1000)
		for n := range wide {
			wide[n] = ledger.Listing{Row: n + 1, Device: fmt.Sprintf("wide-%d", n), Fields: map[string]string{
				"a": strings.Repeat("x", 1000), "b": strings.Repeat("x", 1000), "c": strings.Repeat("x", 1000)}}
		}
		if err := b.StageDevices(b.ctx, "i1", wide); err == nil || b.Health() != nil {
			t.Errorf("3 MB at once: %v, health %v", err, b.Health())
		}
		if err := b.StageDevices(b.ctx, "i1", make([]ledger.Listing, 1001)); err == nil {
			t.Error("1001 rows at once were taken")
		}
		i, err := b.CommitImport(b.ctx, "i1", b.now)
		b.ok(err)
		b.equal("devices", i.Devices, 0)
	}},
	{"of two who list a device at once one succeeds", func(t *testing.T, b *bench) {
		errs := make([]error, clients)
		together(func(n int) {
			id := fmt.Sprint("i", n)
			errs[n] = b.OpenImport(b.ctx, ledger.Import{ID: id, At: b.now})
			if errs[n] == nil {
				errs[n] = b.StageDevices(b.ctx, id, []ledger.Listing{{Row: 1, Device: fmt.Sprint("own-", n)}, {Row: 2, Device: "dev-1"}})
			}
		})
		won := 0
		for n, err := range errs {
			if err == nil {
				won++
				continue
			}
			b.refusedRow(err, 2, "dev-1")
			b.ok(b.DropImport(b.ctx, fmt.Sprint("i", n)))
		}
		b.equal("won", won, 1)
		_, err := b.CommitImport(b.ctx, b.open()[0], b.now)
		b.ok(err)
		b.equal("devices", len(b.found(ledger.DeviceQuery{})), 2)
	}},
	{"injected failures leave an import that can be dropped or repeated", func(t *testing.T, b *bench) {
		fails, mode := "", Pass
		faulty := &Faulty{Ledger: b.Ledger, Fail: func(op string) Mode {
			if op == fails {
				return mode
			}
			return Pass
		}}
		n := 0
		for _, op := range []string{"OpenImport", "StageDevices", "CommitImport", "DropImport"} {
			for _, m := range []Mode{NotPersist, ButPersist} {
				n++
				fails, mode = op, m
				id, device := fmt.Sprint("i", n), fmt.Sprint("dev-", n)
				err := faulty.OpenImport(b.ctx, ledger.Import{ID: id, At: b.now})
				if err == nil {
					err = faulty.StageDevices(b.ctx, id, rows(device))
				}
				if err == nil && op != "DropImport" {
					_, err = faulty.CommitImport(b.ctx, id, b.now)
				}
				if op == "DropImport" {
					err = faulty.DropImport(b.ctx, id)
				}
				b.want(err, ErrInjected)
				fails = ""
				committed := op == "CommitImport" && m == ButPersist
				if err := faulty.DropImport(b.ctx, id); err != nil {
					b.want(err, ledger.ErrNotFound)
				}
				_, err = b.Device(b.ctx, device)
				if (err == nil) != committed {
					t.Errorf("%s, mode %d: %v", op, m, err)
				}
			}
		}
		b.equal("open", b.open(), []string(nil))
	}},
}
