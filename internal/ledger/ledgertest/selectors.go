package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// by makes an intent one of another issuer.
func by(issuer string) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.Issuer = issuer }
}

// without makes an intent one for something that is no device.
func without(p ledger.Purpose) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.Purpose, i.Device, i.Repeat = p, "", 0 }
}

func sorted(serials ...ledger.Serial) []ledger.Serial {
	slices.Sort(serials)
	return serials
}

var selectorChecks = []check{
	{"an issuer's certificates are revoked together, but not those of CAs and of its responder", func(t *testing.T, b *bench) {
		want := []ledger.Serial{
			b.issue(b.intent("dev-1", "k1")), b.issue(b.intent("dev-2", "k2")), b.issue(b.intent("dev-3", "k3", gateway, by("line-a"))),
			b.issue(b.intent("", "k4", without(ledger.ForServer))),
		}
		others := []ledger.Serial{
			b.issue(b.intent("", "k5", without(ledger.ForCA))), b.issue(b.intent("", "k6", without(ledger.ForResponder))), b.issue(b.intent("dev-7", "k7", by("line-b"))),
		}
		b.equal("revoked", sorted(b.revoke(ledger.Selector{Issuer: "line-a"})...), sorted(want...))
		for _, serial := range others {
			b.state(serial, ledger.Valid)
		}
		b.equal("again", b.revoke(ledger.Selector{Issuer: "line-a"}), []ledger.Serial(nil))
		b.ok(b.PutAuthority(b.ctx, ledger.Authority{Name: "line-c", CreatedAt: b.now}))
		b.equal("of one that has signed nothing", b.revoke(ledger.Selector{Issuer: "line-c"}), []ledger.Serial(nil))
	}},
	{"what has a newer one by another issuer is superseded", func(t *testing.T, b *bench) {
		moved := b.issue(b.intent("dev-1", "k1"))
		left := b.issue(b.intent("dev-2", "k2"))
		server := b.issue(b.intent("", "k3", without(ledger.ForServer)))
		signs := b.issue(b.intent("dev-1", "k4", gateway, by("line-a")))
		early := b.issue(b.intent("dev-3", "k5"))
		gone := b.issue(b.intent("dev-4", "k6"))
		b.issue(b.intent("dev-5", "k7", by("line-b"))) // before the one by line-a
		b.now = b.now.Add(time.Minute)
		older := b.issue(b.intent("dev-5", "k8", sameDeviceKey))
		next := func(device, key string, change ...func(*ledger.Intent)) ledger.Serial {
			return b.issue(b.intent(device, key, append(change, by("line-b"), sameDeviceKey)...))
		}
		next("dev-1", "k1b")
		next("dev-3", "k5b", func(i *ledger.Intent) { i.NotBefore = b.now.Add(time.Hour) })
		b.revoke(ledger.Selector{Serial: next("dev-4", "k6b")})
		s := ledger.Selector{Issuer: "line-a", Superseded: true}
		b.equal("superseded", b.revoke(s), []ledger.Serial{moved})
		for _, serial := range []ledger.Serial{left, signs, early, gone, older, server} {
			b.state(serial, ledger.Valid)
		}
		b.now = b.now.Add(time.Hour)
		b.ok(b.Extend(b.ctx, b.epoch, b.now.Add(-time.Hour), 5*time.Hour))
		b.equal("in force by now", b.revoke(s), []ledger.Serial{early})
		next("dev-2", "k2b")
		next("dev-1", "k4b", func(i *ledger.Intent) { i.Purpose = ledger.ForGateway })
		b.equal("renewed by now", sorted(b.revoke(s)...), sorted(left, signs))
	}},
	{"a key's certificates are revoked together", func(t *testing.T, b *bench) {
		want := []ledger.Serial{b.issue(b.intent("dev-1", "k1")), b.issue(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Profile, i.Repeat = "other", 0 }))}
		other := b.issue(b.intent("dev-1", "k2", sameDeviceKey))
		authority := b.issue(b.intent("", "k1", without(ledger.ForCA)))
		b.equal("revoked", sorted(b.revoke(ledger.Selector{Key: Key("k1")})...), sorted(want...))
		b.state(other, ledger.Valid)
		b.state(authority, ledger.Valid)
		b.equal("again", b.revoke(ledger.Selector{Key: Key("k1")}), []ledger.Serial(nil))
	}},
	{"what a requester asked for is revoked together", func(t *testing.T, b *bench) {
		asked := func(kind, name string) func(*ledger.Intent) {
			return func(i *ledger.Intent) { i.Requester.Kind, i.Requester.Name = kind, name }
		}
		station := b.issue(b.intent("dev-1", "k1", asked("password", "line-1")))
		order := b.issue(b.intent("dev-2", "k2", asked("order", "line-1")))
		other := b.issue(b.intent("dev-3", "k3", asked("password", "line-10")))
		authority := b.issue(b.intent("", "k4", without(ledger.ForCA), asked("password", "line-1")))
		b.equal("of one kind", b.revoke(ledger.Selector{Requester: "line-1", RequesterKind: "order"}), []ledger.Serial{order})
		b.equal("of any kind", b.revoke(ledger.Selector{Requester: "line-1"}), []ledger.Serial{station})
		b.state(other, ledger.Valid)
		b.state(authority, ledger.Valid)
		_, err := b.Revoke(b.ctx, ledger.Selector{Requester: "line-1", RequesterKind: "maker"}, ledger.Superseded, "officer", b.now, nil)
		b.want(err, ledger.ErrNotFound)
	}},
	{"no selector but a serial number names a CA or its responder", func(t *testing.T, b *bench) {
		asked := func(i *ledger.Intent) { i.Requester.Kind, i.Requester.Name = "admin", "alice" }
		authority := b.issue(b.intent("", "k1", without(ledger.ForCA), asked))
		responder := b.issue(b.intent("", "k2", without(ledger.ForResponder), asked))
		for _, s := range []ledger.Selector{{Key: Key("k1")}, {Key: Key("k2"), Most: 100}, {Requester: "alice", Limit: 10}} {
			_, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil)
			b.want(err, ledger.ErrAuthorities)
		}
		device := b.issue(b.intent("dev-1", "k3", asked))
		// They do not count, either.
		b.equal("of others", b.revoke(ledger.Selector{Requester: "alice", Most: 1}), []ledger.Serial{device})
		b.equal("again", b.revoke(ledger.Selector{Requester: "alice"}), []ledger.Serial(nil))
		for _, serial := range []ledger.Serial{authority, responder} {
			b.state(serial, ledger.Valid)
			b.equal("by its serial number", b.revoke(ledger.Selector{Serial: serial}), []ledger.Serial{serial})
		}
		b.equal("the key of what is revoked", b.revoke(ledger.Selector{Key: Key("k1")}), []ledger.Serial(nil))
	}},
	{"many are revoked in parts, the oldest first", func(t *testing.T, b *bench) {
		var want []ledger.Serial
		for n := range 7 {
			b.now = b.now.Add(time.Second)
			want = append(want, b.issue(b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n))))
		}
		s := ledger.Selector{Issuer: "line-a", Limit: 3, Most: 6}
		_, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil)
		var many *ledger.TooManyError
		if !errors.As(err, &many) || many.Count != 7 || many.Most != 6 {
			t.Errorf("too many: %v", err)
		}
		b.state(want[0], ledger.Valid)
		s.Most = 7
		var all []ledger.Serial
		for calls := 1; ; calls++ {
			part := b.revoke(s)
			if len(part) == 0 {
				b.equal("calls", calls, 4)
				break
			}
			all, s.After = append(all, part...), part[len(part)-1]
		}
		b.equal("revoked", all, want)
	}},
	{"what matches nothing is not found, and what selects two ways is refused", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		for _, s := range []ledger.Selector{{Issuer: "nobody"}, {Key: Key("none")}, {Requester: "nobody"}, {Issuer: "a\x00b"}, {Requester: "\xff"}} {
			_, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil)
			b.want(err, ledger.ErrNotFound)
		}
		for _, s := range []ledger.Selector{
			{Issuer: "line-a", Key: Key("k1")}, {Requester: "station-2", Device: "dev-1"}, {RequesterKind: "password"}, {Device: "dev-1", RequesterKind: "password"},
			{Superseded: true}, {Device: "dev-1", Superseded: true}, {Issuer: "line-a", Limit: -1}, {Issuer: "line-a", After: "xyz"},
		} {
			if _, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil); err == nil {
				t.Errorf("%+v was accepted", s)
			}
		}
		b.state(serial, ledger.Valid)
	}},
}
