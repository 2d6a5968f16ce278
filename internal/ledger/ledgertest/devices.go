package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// rows are listings of devices, without anything else.
func rows(devices ...string) []ledger.Listing {
	all := make([]ledger.Listing, len(devices))
	for n, device := range devices {
		all[n] = ledger.Listing{Row: n + 1, Device: device}
	}
	return all
}

// openImport opens an import and stages rows.
func (b *bench) openImport(id string, update bool, rows ...ledger.Listing) {
	b.t.Helper()
	b.ok(b.OpenImport(b.ctx, ledger.Import{ID: id, File: id + ".csv", Actor: "alice", At: b.now, Update: update, Server: "alpha"}))
	b.ok(b.StageDevices(b.ctx, id, rows))
}

// listed imports a device list.
func (b *bench) listed(id string, rows ...ledger.Listing) ledger.Import {
	b.t.Helper()
	b.openImport(id, false, rows...)
	i, err := b.CommitImport(b.ctx, id, b.now)
	b.ok(err)
	return i
}

// found lists the identifiers that a query finds.
func (b *bench) found(query ledger.DeviceQuery) []string {
	b.t.Helper()
	devices, err := b.Devices(b.ctx, query)
	b.ok(err)
	var all []string
	for _, d := range devices {
		all = append(all, d.ID)
	}
	return all
}

// refusedByDevice checks that an error is the device's and says why.
func (b *bench) refusedByDevice(err error, device, why string) {
	b.t.Helper()
	var refusal *ledger.DeviceError
	if !errors.As(err, &refusal) || refusal.Device != device || refusal.Why != why {
		b.t.Fatalf("error is %v, want device %s: %s", err, device, why)
	}
}

func fromList(i *ledger.Intent) { i.Listed = true }

func (b *bench) hold(device string, state ledger.DeviceState) ledger.Device {
	b.t.Helper()
	d, err := b.HoldDevice(b.ctx, device, state, "bob", "note", b.now)
	b.ok(err)
	return d
}

var admissionChecks = []check{
	{"the list admits the devices that it has", func(t *testing.T, b *bench) {
		b.refusedByDevice(b.begin(b.intent("dev-1", "k1", fromList)), "dev-1", "unlisted")
		b.openImport("i1", false, rows("dev-1", "dev-2")...)
		b.refusedByDevice(b.begin(b.intent("dev-1", "k1", fromList)), "dev-1", "unlisted") // not in force
		_, err := b.CommitImport(b.ctx, "i1", b.now)
		b.ok(err)
		b.issue(b.intent("dev-1", "k1", fromList))
		b.refusedByDevice(b.begin(b.intent("dev-3", "k3", fromList)), "dev-3", "unlisted")
		b.issue(b.intent("dev-3", "k3")) // under a rule that needs no list
		b.refusedByDevice(b.begin(b.intent("dev-3", "k4", fromList)), "dev-3", "unlisted")
	}},
	{"a dropped list admits nobody", func(t *testing.T, b *bench) {
		b.openImport("i1", false, rows("dev-1")...)
		b.ok(b.DropImport(b.ctx, "i1"))
		b.refusedByDevice(b.begin(b.intent("dev-1", "k1", fromList)), "dev-1", "unlisted")
	}},
	{"the key of the list binds under every rule", func(t *testing.T, b *bench) {
		b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Key: Key("k1")})
		for _, change := range []func(*ledger.Intent){fromList, sameDeviceKey, func(*ledger.Intent) {}} {
			b.refusedByDevice(b.begin(b.intent("dev-1", "k2", change)), "dev-1", "key")
		}
		b.issue(b.intent("dev-1", "k1", fromList))
		b.openImport("i2", false, ledger.Listing{Row: 1, Device: "dev-2", Key: Key("k2")})
		b.issue(b.intent("dev-2", "other")) // the list is not in force
	}},
	{"a list admits under its own order only", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		b.order("wo-2", 9)
		b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-1"}, ledger.Listing{Row: 2, Device: "dev-2"})
		b.refusedByDevice(b.begin(b.intent("dev-1", "k1", fromList, under("wo-2"))), "dev-1", "order")
		b.refusedByDevice(b.begin(b.intent("dev-2", "k2", fromList, under("wo-1"))), "dev-2", "order")
		b.taken("wo-1", 0)
		b.taken("wo-2", 0)
		b.issue(b.intent("dev-1", "k1", fromList, under("wo-1")))
		b.issue(b.intent("dev-2", "k2", fromList))                // without an order any device of a list
		b.issue(b.intent("dev-3", "k3", under("wo-2")))           // an order that admits without a list
		b.issue(b.intent("dev-1", "k4", fromList, sameDeviceKey)) // a renewal costs none and names none
	}},
	{"a held or retired device gets nothing under any rule, and keeps what it has", func(t *testing.T, b *bench) {
		b.listed("i1", rows("dev-1")...)
		serial := b.issue(b.intent("dev-1", "k1"))
		for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired} {
			b.hold("dev-1", state)
			for _, change := range []func(*ledger.Intent){fromList, sameDeviceKey, func(*ledger.Intent) {}} {
				b.refusedByDevice(b.begin(b.intent("dev-1", "k2", change)), "dev-1", string(state))
			}
			b.state(serial, ledger.Valid)
			b.hold("dev-1", ledger.Expected)
		}
		b.ok(b.begin(b.intent("dev-1", "k2", sameDeviceKey)))
	}},
	{"a key of one device is refused to another", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		serial := b.issue(b.intent("dev-1", "k1"))
		shares := func(change ...func(*ledger.Intent)) {
			t.Helper()
			var shared *ledger.SharedKeyError
			if err := b.begin(b.intent("dev-2", "k1", change...)); !errors.As(err, &shared) || shared.Device != "dev-1" || shared.Serial != serial {
				t.Fatalf("shared key: %v", err)
			}
		}
		shares()
		shares(sameDeviceKey)
		shares(under("wo-1"))
		shares(func(i *ledger.Intent) { i.SecondKey = true })
		shares(func(i *ledger.Intent) { i.Repeat = 0 })
		shares(func(i *ledger.Intent) { i.Profile, i.Issuer = "sensor", "line-b" })
		b.taken("wo-1", 0)
		b.ok(b.begin(b.intent("", "k1", func(i *ledger.Intent) { i.Purpose = ledger.ForServer })))
	}},
	{"an open intent shares its key, too", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		var shared *ledger.SharedKeyError
		if err := b.begin(b.intent("dev-2", "k1")); !errors.As(err, &shared) || shared.Serial != i.Serial {
			t.Fatalf("shared key: %v", err)
		}
		epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour) // that of a lapsed epoch does not
		b.ok(err)
		b.epoch = epoch
		b.ok(b.begin(b.intent("dev-2", "k1")))
	}},
	{"a revoked, void or expired certificate shares no key", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		void := b.intent("dev-2", "k1")
		b.ok(b.begin(void))
		b.ok(b.Void(b.ctx, void.Serial, b.now))
		b.issue(b.intent("dev-3", "k1", func(i *ledger.Intent) { i.NotAfter = b.now.Add(time.Minute) }))
		b.now = b.now.Add(2 * time.Minute)
		b.ok(b.begin(b.intent("dev-4", "k1")))
	}},
	{"what another server is answering is in flight", func(t *testing.T, b *bench) {
		i, j := b.intent("dev-1", "k1"), b.intent("dev-2", "k2")
		b.ok(b.begin(i))
		b.ok(b.begin(j))
		beta, err := b.Join(b.ctx, "beta", b.now, time.Hour)
		b.ok(err)
		at := func(i *ledger.Intent) { i.Epoch = beta }
		b.want(b.begin(b.intent("dev-1", "k1", at)), ledger.ErrInFlight)
		b.want(b.begin(b.intent("dev-2", "other", at)), ledger.ErrInFlight) // no alarm: that server may have died over it
		b.ok(b.finish(Signed(j, b.now)))
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-2", "other", at)); !errors.As(err, &clone) || clone.Serial != j.Serial {
			t.Errorf("clone: %v", err)
		}
		alpha, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
		b.ok(err)
		b.ok(b.begin(b.intent("dev-1", "k1", at)))
		b.epoch = alpha
	}},
	{"refusals come in their order", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		own := b.issue(b.intent("dev-1", "k1", under("wo-1"))) // the order is exhausted now
		b.issue(b.intent("dev-2", "k2"))
		b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-2", Key: Key("listed")})
		ask := func(key string, change ...func(*ledger.Intent)) error {
			t.Helper()
			return b.begin(b.intent("dev-1", key, append(change, fromList, under("wo-1"))...))
		}
		// Whoever has lost the answer gets it, unless it is held.
		var prior *ledger.PriorError
		if err := ask("k1"); !errors.As(err, &prior) {
			t.Errorf("a repeat: %v", err)
		}
		for _, state := range []ledger.DeviceState{ledger.Retired, ledger.Held} {
			b.hold("dev-1", state)
			b.refusedByDevice(ask("k1"), "dev-1", string(state))
		}
		b.refusedByDevice(ask("k2"), "dev-1", "held")
		b.hold("dev-1", ledger.Expected)
		b.refusedByDevice(ask("k2"), "dev-1", "key")
		b.openImport("i2", true, ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-2"})
		_, err := b.CommitImport(b.ctx, "i2", b.now)
		b.ok(err)
		b.refusedByDevice(ask("k2"), "dev-1", "order")
		b.openImport("i3", true, ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-1"})
		_, err = b.CommitImport(b.ctx, "i3", b.now)
		b.ok(err)
		var shared *ledger.SharedKeyError
		if err := ask("k2"); !errors.As(err, &shared) {
			t.Errorf("shared key: %v", err)
		}
		var clone *ledger.CloneError
		if err := ask("k3"); !errors.As(err, &clone) {
			t.Errorf("clone: %v", err)
		}
		b.refusedByOrder(ask("k3", sameDeviceKey), "wo-1", "exhausted")
		_, err = b.Revoke(b.ctx, ledger.Selector{Serial: own}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		b.want(ask("k1", func(i *ledger.Intent) { i.Requester = ledger.Requester{Kind: "certificate", Name: string(own)} }), ledger.ErrRevoked)
	}},
	{"only an intent for a device can need the list", func(t *testing.T, b *bench) {
		if _, err := b.Begin(b.ctx, []ledger.Intent{b.intent("", "k1", fromList, func(i *ledger.Intent) { i.Purpose = ledger.ForServer })}); err == nil {
			t.Error("recorded")
		}
	}},
}

var deviceChecks = []check{
	{"a device is found as it was listed", func(t *testing.T, b *bench) {
		l := ledger.Listing{Row: 1, Device: "dev-1", Order: "wo-1", Product: "gateway", Key: Key("k1"), Fields: map[string]string{"mac": "02:00:00:00:00:01", "batch": "ä\"<7>"}}
		b.listed("i1", l)
		want := ledger.Device{ID: "dev-1", State: ledger.Expected, Listed: true, Import: "i1", Order: "wo-1", Product: "gateway", Key: l.Key, Fields: l.Fields, ListedAt: b.now}
		got, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("device", got, want)
		b.now = b.now.Add(time.Minute)
		want.Current = b.issue(b.intent("dev-1", "k1"))
		want.State, want.FirstSeen, want.LastIssued, want.Certificates = ledger.Enrolled, b.now, b.now, 1
		got, err = b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("enrolled", got, want)
		all, err := b.Devices(b.ctx, ledger.DeviceQuery{})
		b.ok(err)
		b.equal("devices", all, []ledger.Device{want})
	}},
	{"a device with certificates can be listed later", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		first := b.now
		b.now = b.now.Add(time.Minute)
		i := b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Product: "gateway", Fields: map[string]string{"batch": "b7"}})
		b.equal("new", i.New, 1)
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("device", d, ledger.Device{ID: "dev-1", State: ledger.Enrolled, Listed: true, Import: "i1", Product: "gateway", Fields: map[string]string{"batch": "b7"}, ListedAt: b.now,
			FirstSeen: first, LastIssued: first, Certificates: 1, Current: serial})
	}},
	{"a hold says who, when and why, and a release clears it", func(t *testing.T, b *bench) {
		b.listed("i1", rows("dev-1")...)
		b.issue(b.intent("dev-2", "k2"))
		for _, id := range []string{"dev-1", "dev-2"} {
			before, err := b.Device(b.ctx, id)
			b.ok(err)
			for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired, ledger.Expected} {
				b.now = b.now.Add(time.Minute)
				got, err := b.HoldDevice(b.ctx, id, state, "bob", "as "+string(state), b.now)
				b.ok(err)
				want := before
				want.ChangedAt, want.ChangedBy, want.Note = b.now, "bob", "as "+string(state)
				if state != ledger.Expected {
					want.State = state
				}
				b.equal("device", got, want)
				got, err = b.Device(b.ctx, id)
				b.ok(err)
				b.equal("stored", got, want)
			}
		}
	}},
	{"a device that nobody knows cannot be held", func(t *testing.T, b *bench) {
		b.openImport("i1", false, rows("dev-1")...)
		b.ok(b.begin(b.intent("dev-2", "k2")))
		for _, id := range []string{"dev-1", "dev-2", "dev-3"} {
			_, err := b.HoldDevice(b.ctx, id, ledger.Held, "bob", "", b.now)
			b.want(err, ledger.ErrNotFound)
		}
	}},
	{"a device that nobody knows can be held as such", func(t *testing.T, b *bench) {
		b.openImport("i1", false, rows("dev-1")...) // not in force
		b.ok(b.begin(b.intent("dev-2", "k2")))      // not issued
		for n, state := range []ledger.DeviceState{ledger.Held, ledger.Retired, ledger.Held} {
			id := fmt.Sprintf("dev-%d", n+1)
			want := ledger.Device{ID: id, State: state, ChangedAt: b.now, ChangedBy: "bob", Note: "stolen"}
			got, err := b.HoldUnknown(b.ctx, id, state, "bob", "stolen", b.now, ledger.Task{Kind: "aws", Key: id})
			b.ok(err)
			b.equal("device", got, want)
			got, err = b.Device(b.ctx, id)
			b.ok(err)
			b.equal("stored", got, want)
			b.refusedByDevice(b.begin(b.intent(id, id+"-key")), id, string(state))
			want.State = ledger.Expected
			b.equal("released", b.hold(id, ledger.Expected).State, want.State)
		}
		b.ok(b.DropImport(b.ctx, "i1"))
		b.equal("devices", b.found(ledger.DeviceQuery{State: ledger.Expected}), []string{"dev-1", "dev-2", "dev-3"})
		tasks, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		b.equal("tasks", len(tasks), 3)

		// It can be listed, and get a certificate, as any other.
		b.equal("new", b.listed("i2", rows("dev-3")...).New, 1)
		b.issue(b.intent("dev-3", "k3", fromList))
		d, err := b.HoldUnknown(b.ctx, "dev-3", ledger.Held, "bob", "again", b.now)
		b.ok(err)
		b.equal("known", []any{d.State, d.Listed, d.Certificates}, []any{ledger.Held, true, 1})
	}},
	{"of a device that nobody knows nothing else can be said", func(t *testing.T, b *bench) {
		for _, state := range []ledger.DeviceState{ledger.Expected, ledger.Enrolled, ""} {
			if _, err := b.HoldUnknown(b.ctx, "dev-1", state, "bob", "", b.now); err == nil {
				t.Errorf("made %q", state)
			}
		}
		for _, id := range []string{"", "a\x00b", "\xff"} {
			if _, err := b.HoldUnknown(b.ctx, id, ledger.Held, "bob", "", b.now); err == nil {
				t.Errorf("held %q", id)
			}
		}
		b.equal("devices", b.found(ledger.DeviceQuery{}), []string(nil))
	}},
	{"a device is held, retired or released and nothing else", func(t *testing.T, b *bench) {
		b.listed("i1", rows("dev-1")...)
		for _, state := range []ledger.DeviceState{ledger.Enrolled, "", "lost"} {
			if _, err := b.HoldDevice(b.ctx, "dev-1", state, "bob", "", b.now); err == nil {
				t.Errorf("made %q", state)
			}
		}
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("state", d.State, ledger.Expected)
	}},
	{"a hold voids what is in flight, with its units", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		for _, state := range []ledger.DeviceState{ledger.Held, ledger.Retired} {
			id := "dev-" + string(state)
			b.issue(b.intent(id, id))
			mine, other := b.intent(id, id+"2", sameDeviceKey, under("wo-1")), b.intent("other-"+id, "other-"+id, under("wo-1"))
			b.ok(b.begin(mine))
			b.ok(b.begin(other))
			b.taken("wo-1", 2)
			b.hold(id, state)
			b.state(mine.Serial, ledger.Voided)
			b.want(b.finish(Signed(mine, b.now)), ledger.ErrVoided)
			b.state(other.Serial, ledger.Open)
			b.taken("wo-1", 1)
			b.ok(b.Void(b.ctx, other.Serial, b.now))
		}
	}},
	{"every field restricts", func(t *testing.T, b *bench) {
		b.listed("i1", ledger.Listing{Row: 1, Device: "a", Order: "wo-1", Product: "gateway"}, ledger.Listing{Row: 2, Device: "b", Order: "wo-2", Product: "gateway"})
		b.listed("i2", ledger.Listing{Row: 1, Device: "c", Product: "sensor"}, ledger.Listing{Row: 2, Device: "d"}, ledger.Listing{Row: 3, Device: "e"})
		b.openImport("i3", false, ledger.Listing{Row: 1, Device: "f", Order: "wo-1", Product: "gateway"}, ledger.Listing{Row: 2, Device: "g", Order: "wo-1", Product: "gateway"})
		b.issue(b.intent("a", "a"))
		b.issue(b.intent("g", "g")) // listed by an import that is not in force
		b.hold("b", ledger.Held)
		b.hold("d", ledger.Retired)
		for name, q := range map[string]struct {
			query ledger.DeviceQuery
			want  []string
		}{
			"nothing":    {ledger.DeviceQuery{}, []string{"a", "b", "c", "d", "e", "g"}},
			"expected":   {ledger.DeviceQuery{State: ledger.Expected}, []string{"c", "e"}},
			"enrolled":   {ledger.DeviceQuery{State: ledger.Enrolled}, []string{"a", "g"}},
			"held":       {ledger.DeviceQuery{State: ledger.Held}, []string{"b"}},
			"retired":    {ledger.DeviceQuery{State: ledger.Retired}, []string{"d"}},
			"order":      {ledger.DeviceQuery{Order: "wo-1"}, []string{"a"}},
			"product":    {ledger.DeviceQuery{Product: "gateway"}, []string{"a", "b"}},
			"import":     {ledger.DeviceQuery{Import: "i2"}, []string{"c", "d", "e"}},
			"not yet":    {ledger.DeviceQuery{Import: "i3"}, nil},
			"two":        {ledger.DeviceQuery{Product: "gateway", State: ledger.Held}, []string{"b"}},
			"contradict": {ledger.DeviceQuery{Product: "sensor", Order: "wo-1"}, nil},
			"after":      {ledger.DeviceQuery{After: "c"}, []string{"d", "e", "g"}},
			"limit":      {ledger.DeviceQuery{Limit: 2, After: "a"}, []string{"b", "c"}},
			"with text":  {ledger.DeviceQuery{Text: "gate", State: ledger.Enrolled}, []string{"a"}},
		} {
			b.equal(name, b.found(q.query), q.want)
		}
	}},
	{"text finds the beginning of an identifier and of any value", func(t *testing.T, b *bench) {
		b.listed("i1",
			ledger.Listing{Row: 1, Device: "SN-0001", Order: "wo-1", Product: "gateway", Fields: map[string]string{"mac": "02:00:01", "batch": "B7"}},
			ledger.Listing{Row: 2, Device: "SN-0002", Order: "wo-1", Product: "sensor", Fields: map[string]string{"mac": "02:00:02", "batch": "B7"}},
			ledger.Listing{Row: 3, Device: "SN-0003", Order: "wo-2", Product: "sensor", Fields: map[string]string{"mac": "03:00:00", "note": "SN-0001 replaces it"}},
			ledger.Listing{Row: 4, Device: "Ünit-\U0010ffff", Fields: map[string]string{"twice": "x\U0010ffff", "again": "x\U0010ffff"}},
			ledger.Listing{Row: 5, Device: "Ünit-\ud7ff1"},
		)
		b.openImport("i2", false, ledger.Listing{Row: 1, Device: "SN-0009", Product: "sensor", Fields: map[string]string{"mac": "02:00:09"}},
			ledger.Listing{Row: 2, Device: "SN-0008", Product: "sensor", Fields: map[string]string{"mac": "02:00:08"}})
		b.issue(b.intent("SN-0008", "k8")) // is a device, but not by that list
		for text, want := range map[string][]string{
			"SN-000":            {"SN-0001", "SN-0002", "SN-0003", "SN-0008"},
			"SN-0001":           {"SN-0001", "SN-0003"},
			"02:00":             {"SN-0001", "SN-0002"},
			"02:00:02":          {"SN-0002"},
			"02:00:022":         nil,
			"B7":                {"SN-0001", "SN-0002"},
			"sensor":            {"SN-0002", "SN-0003"},
			"wo-":               {"SN-0001", "SN-0002", "SN-0003"},
			"N-0001":            nil,
			"sn-0001":           nil,
			"%":                 nil,
			"_N-0001":           nil,
			"Ü":                 {"Ünit-\ud7ff1", "Ünit-\U0010ffff"},
			"Ünit-\ud7ff":       {"Ünit-\ud7ff1"},
			"x\U0010ffff":       {"Ünit-\U0010ffff"},
			"Ünit-\U0010ffff":   {"Ünit-\U0010ffff"},
			"\U0010ffff":        nil,
			"\xff":              nil,
			"SN-0001\x00":       nil,
			"SN-0001 replaces ": {"SN-0003"},
		} {
			b.equal(fmt.Sprintf("%q", text), b.found(ledger.DeviceQuery{Text: text}), want)
		}
		b.equal("page", b.found(ledger.DeviceQuery{Text: "SN-", After: "SN-0001", Limit: 2}), []string{"SN-0002", "SN-0003"})
	}},
	{"pages follow each other in the order of identifiers", func(t *testing.T, b *bench) {
		var want []string
		var all []ledger.Listing
		for n := range 25 {
			want = append(want, fmt.Sprintf("dev-%02d", n))
			all = append(all, ledger.Listing{Row: n + 1, Device: fmt.Sprintf("dev-%02d", 24-n)})
		}
		b.listed("i1", all...)
		var got []string
		for after := ""; ; {
			page := b.found(ledger.DeviceQuery{After: after, Limit: 10})
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		b.equal("devices", got, want)
		if !slices.IsSorted(got) {
			t.Error("not sorted")
		}
	}},
	{"a page has 100 unless asked and never more than 1000", func(t *testing.T, b *bench) {
		b.ok(b.OpenImport(b.ctx, ledger.Import{ID: "i1", At: b.now}))
		for n := range 2 {
			var part []ledger.Listing
			for k := range 600 {
				part = append(part, ledger.Listing{Row: n*600 + k + 1, Device: fmt.Sprint("dev-", n, "-", k)})
			}
			b.ok(b.StageDevices(b.ctx, "i1", part))
		}
		_, err := b.CommitImport(b.ctx, "i1", b.now)
		b.ok(err)
		for limit, want := range map[int]int{0: 100, 1000: 1000, 5000: 1000} {
			b.equal(fmt.Sprint("limit ", limit), len(b.found(ledger.DeviceQuery{Limit: limit})), want)
		}
	}},
}
