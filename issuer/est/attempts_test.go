package est

import (
	"net/netip"
	"testing"
	"time"
)

func TestAttempts(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	one := attemptKey{label: "a", user: "one", known: true}
	home, away := sourceKey(netip.MustParseAddr("192.0.2.1")), sourceKey(netip.MustParseAddr("192.0.2.2"))
	third := sourceKey(netip.MustParseAddr("192.0.2.3"))

	a := newAttempts()
	a.succeeded(now, home, one)
	for range attemptBurst {
		if a.locked(now, away, one) {
			t.Fatal("locked too early")
		}
		a.failed(now, away, one)
	}
	if !a.locked(now, away, one) || !a.locked(now, away, attemptKey{label: "a"}) {
		t.Error("the source is not locked")
	}
	if !a.locked(now, third, one) {
		t.Error("the user is not locked elsewhere")
	}
	if a.locked(now, home, one) {
		t.Error("the user is locked where it has been right")
	}
	if a.locked(now, third, attemptKey{label: "b", user: "one", known: true}) {
		t.Error("another label's user is locked")
	}
	if a.locked(now.Add(attemptLeak), away, one) {
		t.Error("locked for good")
	}
	for range attemptBurst {
		a.failed(now, home, one)
	}
	if !a.locked(now, home, one) {
		t.Error("the source is not locked because the user was right there once")
	}
}

// Memory stays bounded, and what is locked outlives a flood of others.
func TestAttemptsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	one := attemptKey{label: "a", user: "one", known: true}
	away := sourceKey(netip.Addr{})
	a := newAttempts()
	for range 2 * attemptBurst {
		a.failed(now, away, one)
	}
	for i := range 2 * maxBuckets {
		a.failed(now, sourceKey(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), attemptKey{label: "a"})
	}
	if len(a.m) > maxBuckets {
		t.Errorf("%d buckets", len(a.m))
	}
	if !a.locked(now, sourceKey(netip.MustParseAddr("192.0.2.1")), one) {
		t.Error("a flood of addresses unlocked a user")
	}
}

func TestSourceKey(t *testing.T) {
	key := func(s string) attemptKey { return sourceKey(netip.MustParseAddr(s)) }
	if key("2001:db8::1") != key("2001:db8::ffff") || key("2001:db8::1") == key("2001:db8:0:1::1") {
		t.Error("IPv6 addresses are not grouped by /64")
	}
	if key("192.0.2.1") == key("192.0.2.2") {
		t.Error("IPv4 addresses are grouped")
	}
}
