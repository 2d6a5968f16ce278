package est

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestAttempts(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	one := attemptKey{label: "a", user: "one", known: true}
	home, away := sourceKey(netip.MustParseAddr("192.0.2.1")), sourceKey(netip.MustParseAddr("192.0.2.2"))
	a := newAttempts()
	for range attemptBurst {
		for _, k := range []attemptKey{away, one.at(away)} {
			if a.locked(now, k) {
				t.Fatal("locked too early")
			}
			a.failed(now, k)
		}
	}
	for _, k := range []attemptKey{away, one.at(away)} {
		if !a.locked(now, k) {
			t.Errorf("%v is not locked", k)
		}
		if a.locked(now.Add(attemptLeak), k) {
			t.Errorf("%v is locked for good", k)
		}
	}
	other := one
	other.label = "b"
	for _, k := range []attemptKey{home, one.at(home), other.at(away), attemptKey{label: "a"}.at(away)} {
		if a.locked(now, k) {
			t.Errorf("%v is locked", k)
		}
	}
}

// Memory stays bounded, and what is locked outlives a flood of others.
func TestAttemptsBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	away := sourceKey(netip.Addr{})
	a := newAttempts()
	for range 2 * attemptBurst {
		a.failed(now, away)
	}
	for i := range 2 * maxBuckets {
		source := sourceKey(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		a.failed(now, source)
		a.failed(now, attemptKey{label: "a"}.at(source))
	}
	if len(a.m) > maxBuckets {
		t.Errorf("%d buckets", len(a.m))
	}
	if !a.locked(now, away) {
		t.Error("a flood of addresses unlocked one")
	}
}

// tryPassword asks at label line-a from an address and returns the status.
func (f *fixture) tryPassword(t *testing.T, csr, address, user, secret string) int {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://est.test/.well-known/est/line-a/simpleenroll", strings.NewReader(csr))
	r.TLS, r.RemoteAddr = &tls.ConnectionState{}, netip.AddrPortFrom(netip.MustParseAddr(address), 1).String()
	r.Header.Set("Content-Type", mediaTypePKCS10)
	r.SetBasicAuth(user, secret)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	if w.Code == http.StatusUnauthorized && w.Body.Len() > 0 {
		t.Errorf("401 with %q", w.Body)
	}
	return w.Code
}

// Strangers who try passwords do not stop a line: not right after a start, not
// for ever, and not from many addresses. Nor does one of its own devices.
func TestStrangersLockNobodyOut(t *testing.T) {
	f := newHandler(t, func(_ *fixture, c *Config) { c.Stations = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")} })
	csr := base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), "dev-1"))
	wrong := func(address, user string) {
		t.Helper()
		if status := f.tryPassword(t, csr, address, user, "wrong"); status != http.StatusUnauthorized {
			t.Fatalf("%s %s: status %d", address, user, status)
		}
	}
	right := func(address string, want int) {
		t.Helper()
		if status := f.tryPassword(t, csr, address, goodUser, goodSecret); status != want {
			t.Errorf("right from %s: status %d, want %d", address, status, want)
		}
	}
	for range 5 * attemptBurst {
		wrong("198.51.100.1", goodUser)
		f.clock.advance(100 * time.Millisecond)
	}
	right("198.51.100.2", http.StatusOK)
	wrong("198.51.100.1", goodUser)
	right("198.51.100.1", http.StatusUnauthorized)
	wrong("198.51.100.3", goodUser)
	if log := f.log.String(); !strings.Contains(log, "peer=198.51.100.3 user=line-1 known=true status=401 rule=credential") {
		t.Error("a user is locked where nobody has tried")
	}
	for n := range 2 * maxBuckets {
		wrong(fmt.Sprintf("2001:db8:0:%x::1", n), goodUser)
	}
	right("198.51.100.2", http.StatusOK)
	right("2001:db8:1::1", http.StatusOK)

	for range 2 * attemptBurst {
		wrong("192.0.2.7", "valve-7")
		wrong("192.0.2.7", goodUser)
	}
	right("192.0.2.7", http.StatusOK)
	if log := f.log.String(); !strings.Contains(log, "peer=192.0.2.7 user=valve-7 right=false status=401 rule=attempts") {
		t.Error("what a station tries too often is not in the log as such")
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
