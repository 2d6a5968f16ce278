package ledgertest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

const day = 24 * time.Hour

// fleet is a query of all devices of line-a.
func (b *bench) fleet() ledger.AnchorQuery {
	return ledger.AnchorQuery{Rotation: "r-1", Issuers: []string{"line-a", "edge"}, Now: b.now}
}

func (b *bench) note(notes ...ledger.AnchorNote) {
	b.t.Helper()
	b.ok(b.NoteAnchors(b.ctx, "r-1", notes))
}

// classes are the classes of devices, in every way that they can be asked for.
func (b *bench) classes(q ledger.AnchorQuery) map[string]ledger.AnchorClass {
	b.t.Helper()
	all := map[string]ledger.AnchorClass{}
	counts := map[ledger.AnchorClass]int{}
	q.Limit, q.After = 3, ""
	last := ""
	for {
		devices, next, err := b.Anchors(b.ctx, q)
		b.ok(err)
		for _, d := range devices {
			if d.Device <= last {
				b.t.Fatalf("%q after %q", d.Device, last)
			}
			all[d.Device], last = d.Class, d.Device
			counts[d.Class]++
		}
		if q.After = next; next == "" {
			break
		}
		b.equal("next", next, last)
	}
	got, err := b.AnchorCount(b.ctx, q)
	b.ok(err)
	b.equal("counts", got, counts)
	for class, n := range counts {
		q := q
		q.Class, q.Limit, q.After = class, 1000, ""
		devices, next, err := b.Anchors(b.ctx, q)
		b.ok(err)
		if len(devices) != n || next != "" || slices.ContainsFunc(devices, func(d ledger.AnchorDevice) bool { return d.Class != class }) {
			b.t.Fatalf("class %s: %+v, then %q", class, devices, next)
		}
	}
	return all
}

func (b *bench) oneAnchor(device string) ledger.AnchorDevice {
	b.t.Helper()
	q := b.fleet()
	q.Limit = 1000
	devices, _, err := b.Anchors(b.ctx, q)
	b.ok(err)
	i := slices.IndexFunc(devices, func(d ledger.AnchorDevice) bool { return d.Device == device })
	if i < 0 {
		b.t.Fatalf("%s is not among %d devices", device, len(devices))
	}
	return devices[i]
}

// longer keeps the epoch in force.
func (b *bench) longer(d time.Duration) {
	b.t.Helper()
	b.ok(b.Extend(b.ctx, b.epoch, b.now, d))
}

var anchorChecks = []check{
	{"each device is in the first class that fits", func(t *testing.T, b *bench) {
		b.longer(1000 * day)
		b.rotate(b.rotation("r-1"), false)
		short := func(i *ledger.Intent) { i.NotAfter = b.now.Add(50 * day) }
		for _, name := range []string{"moved", "trusts", "waived", "waived-trusts", "left", "silent", "never", "chains"} {
			b.issue(b.intent(name, "k-"+name))
		}
		b.issue(b.intent("expired", "k-expired", short))
		b.issue(b.intent("expired-moved", "k-expired-moved", short))
		b.now = b.now.Add(10 * day)
		b.issue(b.intent("silent", "k-silent-2", sameDeviceKey))
		b.now = b.now.Add(50 * day)
		b.issue(b.intent("left", "k-left-2", sameDeviceKey))
		trusts := ledger.AnchorNote{Trusts: b.now, How: "fetched"}
		for device, n := range map[string]ledger.AnchorNote{
			"moved": {Trusts: b.now, How: "proved", Chains: b.now}, "trusts": trusts, "waived": {Waived: b.now, WaivedBy: "anna", Why: "warehouse"},
			"expired-moved": {Trusts: b.now, How: "reported", Chains: b.now}, "chains": {Chains: b.now},
			"nobody": trusts, // of whom there is no certificate
		} {
			n.Device = device
			b.note(n)
		}
		b.note(ledger.AnchorNote{Device: "waived-trusts", Trusts: b.now, How: "fetched", Waived: b.now, WaivedBy: "anna"})
		want := map[string]ledger.AnchorClass{
			"moved": ledger.AnchorMoved, "trusts": ledger.AnchorTrusts, "waived": ledger.AnchorWaived, "waived-trusts": ledger.AnchorWaived, "left": ledger.AnchorLeft,
			"silent": ledger.AnchorSilent, "never": ledger.AnchorNever, "expired": ledger.AnchorExpired, "expired-moved": ledger.AnchorMoved, "chains": ledger.AnchorLeft,
		}
		b.equal("classes", b.classes(b.fleet()), want)
		q := b.fleet()
		q.Silent = 100 * day
		want["silent"] = ledger.AnchorLeft
		b.equal("with more patience", b.classes(q), want)
	}},
	{"a device says what is known of it", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		serial := b.issue(b.intent("dev-1", "k1"))
		issued := b.now
		b.now = b.now.Add(time.Minute)
		n := ledger.AnchorNote{Device: "dev-1", Trusts: b.now, How: "fetched", Waived: b.now.Add(time.Hour), WaivedBy: "anna", Why: "warehouse"}
		b.note(n)
		b.issue(b.intent("dev-2", "k2"))
		b.equal("device", b.oneAnchor("dev-1"), ledger.AnchorDevice{
			AnchorNote: n, Class: ledger.AnchorWaived, Issuer: "line-a", Label: "line", NotAfter: b.state(serial, ledger.Valid).NotAfter, LastSeen: b.now,
		})
		b.equal("not noted", b.oneAnchor("dev-2"), ledger.AnchorDevice{
			AnchorNote: ledger.AnchorNote{Device: "dev-2"}, Class: ledger.AnchorNever, Issuer: "line-a", Label: "line", NotAfter: b.now.Add(year), LastSeen: issued.Add(time.Minute),
		})
	}},
	{"who has a certificate by these CAs belongs, and nobody else", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		b.issue(b.intent("in", "k1"))
		b.issue(b.intent("elsewhere", "k2", by("line-b")))
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("revoked", "k3"))})
		b.issue(b.intent("", "k4", without(ledger.ForServer)))
		b.ok(b.begin(b.intent("open", "k5")))
		b.issue(b.intent("gateway", "k6", gateway))
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("gateway-revoked", "k7", gateway))})
		b.issue(b.intent("both", "k8"))
		b.now = b.now.Add(time.Second)
		b.issue(b.intent("both", "k9", sameDeviceKey, by("line-b"))) // and has not given the other one up
		b.issue(b.intent("gateway-too", "k10", gateway, func(i *ledger.Intent) { i.Label = "edge" }))
		b.issue(b.intent("gateway-too", "k11", by("line-b")))
		got := slices.Sorted(maps.Keys(b.classes(b.fleet())))
		b.equal("devices", got, []string{"both", "gateway", "gateway-too", "in"})
		b.equal("issuer", b.oneAnchor("both").Issuer, "line-a")
		b.equal("issuer", b.oneAnchor("gateway-too").Issuer, "edge")
		b.equal("label", b.oneAnchor("gateway-too").Label, "edge")
		b.equal("of many certificates", b.oneAnchor("both").Class, ledger.AnchorLeft)
		b.equal("of one", b.oneAnchor("gateway").Class, ledger.AnchorNever)
		b.equal("last seen", b.oneAnchor("both").LastSeen, b.now)
	}},
	{"of a rotation of an issuing CA the newest certificate tells who has moved", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		for _, name := range []string{"moved", "back", "left", "revoked", "gateway", "gateway-moved", "gateway-left"} {
			b.issue(b.intent(name, "k-"+name))
		}
		for _, name := range []string{"gateway", "gateway-moved", "gateway-left"} {
			b.issue(b.intent(name, "e-"+name, gateway))
		}
		b.now = b.now.Add(time.Minute)
		renew := func(name, key string, change ...func(*ledger.Intent)) ledger.Serial {
			return b.issue(b.intent(name, key, append(change, sameDeviceKey)...))
		}
		renew("moved", "k2", by("line-c"))
		renew("back", "k3", by("line-c"))
		b.revoke(ledger.Selector{Serial: renew("revoked", "k4", by("line-c"))})
		renew("left", "k5")
		renew("gateway", "k6", by("line-c"))
		renew("gateway-moved", "k7", by("line-c"))
		renew("gateway-moved", "e7", gateway, by("line-c"))
		renew("gateway-left", "e8", gateway, by("line-c"))
		b.issue(b.intent("new", "k9", by("line-c")))
		b.now = b.now.Add(time.Minute)
		renew("back", "k10")
		q := b.fleet()
		q.New = "line-c"
		b.note(ledger.AnchorNote{Device: "left", Trusts: b.now, How: "fetched", Chains: b.now}) // notes do not move it
		b.equal("classes", b.classes(q), map[string]ledger.AnchorClass{
			"moved": ledger.AnchorMoved, "new": ledger.AnchorMoved, "back": ledger.AnchorLeft, "left": ledger.AnchorTrusts, "revoked": ledger.AnchorLeft,
			"gateway": ledger.AnchorLeft, "gateway-moved": ledger.AnchorMoved, "gateway-left": ledger.AnchorLeft,
		})
	}},
	{"a device is expired when every certificate is over", func(t *testing.T, b *bench) {
		b.longer(1000 * day)
		b.rotate(b.rotation("r-1"), false)
		b.issue(b.intent("long", "k1"))
		b.issue(b.intent("gateway", "k2", gateway))
		ends := func(i *ledger.Intent) { i.NotAfter = b.now.Add(day) }
		b.issue(b.intent("long", "k3", sameDeviceKey, ends))
		b.issue(b.intent("gateway", "k4", ends))
		b.issue(b.intent("over", "k5", ends))
		b.now = b.now.Add(day)
		b.equal("at the end", b.classes(b.fleet())["over"], ledger.AnchorNever)
		b.now = b.now.Add(time.Second)
		got := b.classes(b.fleet())
		b.equal("after it", []ledger.AnchorClass{got["over"], got["long"], got["gateway"]}, []ledger.AnchorClass{ledger.AnchorExpired, ledger.AnchorLeft, ledger.AnchorLeft})
	}},
	{"what is noted stays, and more is added", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		b.issue(b.intent("dev-1", "k1"))
		first := ledger.AnchorNote{Device: "dev-1", Trusts: b.now, How: "fetched"}
		b.note(first)
		later := ledger.AnchorNote{Device: "dev-1", Trusts: b.now.Add(time.Hour), How: "reported", Chains: b.now.Add(2 * time.Hour)}
		b.note(later, ledger.AnchorNote{Device: "dev-1", Chains: b.now.Add(3 * time.Hour), Waived: b.now, WaivedBy: "anna", Why: "a"})
		b.note(ledger.AnchorNote{Device: "dev-1", Waived: b.now.Add(time.Hour), WaivedBy: "otto", Why: "b"})
		b.equal("noted", b.oneAnchor("dev-1").AnchorNote, ledger.AnchorNote{
			Device: "dev-1", Trusts: b.now, How: "fetched", Chains: b.now.Add(2 * time.Hour), Waived: b.now, WaivedBy: "anna", Why: "a",
		})
		q := b.fleet()
		q.Rotation = "r-2"
		devices, _, err := b.Anchors(b.ctx, q)
		b.ok(err)
		b.equal("of another rotation", devices[0].AnchorNote, ledger.AnchorNote{Device: "dev-1"})
	}},
	{"what was noted is void once the device enrolls as for the first time", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		credentials := []string{"password", "secret", "order", "claim", "maker", "admin"}
		renewals := []string{"certificate", "ra", "cas"}
		// A spare board in the place of the device, and who renews.
		next := func(device, kind, key string) {
			b.issue(b.intent(device, key, func(i *ledger.Intent) { i.Requester.Kind, i.SecondKey = kind, true }))
		}
		for _, kind := range slices.Concat(credentials, renewals) {
			b.issue(b.intent("by-"+kind, "k-"+kind))
		}
		b.issue(b.intent("gateway", "g", gateway))
		b.now = b.now.Add(time.Minute)
		moved := func(device string) ledger.AnchorNote {
			return ledger.AnchorNote{Device: device, Trusts: b.now, How: "fetched", Chains: b.now}
		}
		first := b.now
		for _, kind := range slices.Concat(credentials, renewals) {
			b.note(moved("by-" + kind))
		}
		waived := ledger.AnchorNote{Device: "by-order", Waived: b.now, WaivedBy: "anna"}
		b.note(moved("gateway"), waived)
		b.now = b.now.Add(time.Minute)
		want := map[string]ledger.AnchorClass{"gateway": ledger.AnchorMoved}
		for _, kind := range credentials {
			next("by-"+kind, kind, "k2-"+kind)
			want["by-"+kind] = ledger.AnchorLeft
		}
		want["by-order"] = ledger.AnchorWaived // that was said of the name
		for _, kind := range renewals {
			next("by-"+kind, kind, "k2-"+kind)
			want["by-"+kind] = ledger.AnchorMoved
		}
		b.equal("classes", b.classes(b.fleet()), want)
		b.equal("note", b.oneAnchor("by-password").AnchorNote, ledger.AnchorNote{Device: "by-password"})
		b.equal("note", b.oneAnchor("by-order").AnchorNote, waived)
		// What was seen before and is only written now says nothing of the new board.
		b.note(ledger.AnchorNote{Device: "by-password", Trusts: first.Add(time.Second), How: "proved", Chains: first.Add(time.Second)})
		b.equal("written late", b.oneAnchor("by-password").Class, ledger.AnchorLeft)
		// It is noted anew, and that stays.
		b.now = b.now.Add(time.Minute)
		again := moved("by-password")
		b.note(again)
		b.now = b.now.Add(time.Minute)
		next("by-password", "certificate", "k3")
		b.note(moved("by-password"), moved("by-certificate"))
		b.equal("noted again", b.oneAnchor("by-password").AnchorNote, again)
		b.equal("noted once", b.oneAnchor("by-certificate").Trusts, first)
		next("gateway", "password", "k-gateway")
		b.equal("a gateway", b.oneAnchor("gateway").AnchorNote, ledger.AnchorNote{Device: "gateway"})
	}},
	{"a root with nothing below it has no devices", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		b.issue(b.intent("dev-1", "k1"))
		for _, issuers := range [][]string{nil, {""}} {
			b.equal("classes", b.classes(ledger.AnchorQuery{Rotation: "r-1", Issuers: issuers, Now: b.now}), map[string]ledger.AnchorClass{})
		}
	}},
	{"many notes are one call", func(t *testing.T, b *bench) {
		b.rotate(b.rotation("r-1"), false)
		b.issue(b.intent("dev-00007", "k1"))
		b.issue(b.intent("dev-01207", "k2"))
		var notes []ledger.AnchorNote
		for n := range 1234 {
			notes = append(notes, ledger.AnchorNote{Device: fmt.Sprintf("dev-%05d", n), Trusts: b.now.Add(time.Duration(n) * time.Second), How: "fetched"})
		}
		b.note(notes...)
		b.note(notes...)
		b.note()
		for _, n := range []int{7, 1207} {
			b.equal("note", b.oneAnchor(notes[n].Device).AnchorNote, notes[n])
		}
	}},
	{"what is no note is refused", func(t *testing.T, b *bench) {
		some := ledger.AnchorNote{Device: "dev-1", Chains: b.now}
		b.want(b.NoteAnchors(b.ctx, "r-1", []ledger.AnchorNote{some}), ledger.ErrNotFound)
		b.rotate(b.rotation("r-1"), false)
		b.issue(b.intent("dev-1", "k1"))
		for name, n := range map[string]ledger.AnchorNote{
			"no device": {Chains: b.now}, "no way": {Device: "dev-1", Trusts: b.now}, "unknown way": {Device: "dev-1", Trusts: b.now, How: "guessed"},
			"waived by nobody": {Device: "dev-1", Waived: b.now}, "no text": {Device: "dev\x00", Chains: b.now},
		} {
			if err := b.NoteAnchors(b.ctx, "r-1", []ledger.AnchorNote{some, n}); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		b.equal("noted", b.oneAnchor("dev-1").AnchorNote, ledger.AnchorNote{Device: "dev-1"})
		for name, q := range map[string]ledger.AnchorQuery{
			"no rotation": {Issuers: []string{"line-a"}, Now: b.now}, "no time": {Rotation: "r-1", Issuers: []string{"line-a"}},
			"many CAs": {Rotation: "r-1", Issuers: make([]string, 501), Now: b.now}, "no text": {Rotation: "r-1", Issuers: []string{"\xff"}, Now: b.now},
		} {
			if _, err := b.AnchorCount(b.ctx, q); err == nil {
				t.Errorf("%s: counted", name)
			}
			if _, _, err := b.Anchors(b.ctx, q); err == nil {
				t.Errorf("%s: listed", name)
			}
		}
	}},
}
