package est

import (
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tooManyRequests checks the one form of a 429.
func tooManyRequests(t *testing.T, m message, rule string, least int) {
	t.Helper()
	refused(t, m, http.StatusTooManyRequests, rule)
	if n, err := strconv.Atoi(m.field(t, "Retry-After")); err != nil || n < least {
		t.Errorf("Retry-After %d, %v; want at least %d", n, err, least)
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "identity", Passwords: goodPasswords(), OneTime: true, Own: []string{"device"}, RAs: []string{"ra"}, Maker: &Maker{Device: "commonName"}, Limits: Limits{Identity: 2}},
		Label{Name: "address", Passwords: goodPasswords(), Limits: Limits{Address: 2}},
		Label{Name: "label", Passwords: goodPasswords(), Limits: Limits{Label: 2}},
	))
	at := func(label string, r rawRequest) rawRequest {
		r.path = "/.well-known/est/" + label + r.path[strings.LastIndex(r.path, "/"):]
		return r
	}
	ok := func(t *testing.T, m message) {
		t.Helper()
		if m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	}
	t.Run("one device, by whatever credential it has", func(t *testing.T) {
		f.authority.secrets["by-secret"] = "s"
		secret := enroll(t, "by-secret")
		secret.header[1] = basic("by-secret", "s")
		maker := enroll(t, "by-maker")
		maker.header, maker.certificate = maker.header[:1:1], f.maker.device(t, pkix.Name{CommonName: "by-maker"}, nil)
		for _, r := range []rawRequest{at("identity", reenroll(t, f.authority.own(t, "by-own", nil))), at("identity", secret), at("identity", maker)} {
			ok(t, f.raw(t, r))
			ok(t, f.raw(t, r)) // a repeated request costs like any other
			tooManyRequests(t, f.raw(t, r), ruleLimitIdentity, 30)
			f.clock.advance(30 * time.Second)
			ok(t, f.raw(t, r))
			tooManyRequests(t, f.raw(t, r), ruleLimitIdentity, 30)
		}
		other := at("identity", reenroll(t, f.authority.own(t, "another", nil)))
		ok(t, f.raw(t, other))
		if last := f.authority.refused[len(f.authority.refused)-1]; last.Rule != ruleLimitIdentity || last.Device == "" || last.Requester.Kind == "" {
			t.Errorf("record %+v", last)
		}
	})
	t.Run("who speaks for many is no device", func(t *testing.T) {
		r := at("identity", enroll(t, "shared"))
		for range 4 {
			ok(t, f.raw(t, r))
		}
		r.header, r.certificate = r.header[:1:1], f.authority.registration(t, "ra")
		for range 4 {
			ok(t, f.raw(t, r))
		}
	})
	t.Run("one address, whatever it asks and whoever it is", func(t *testing.T) {
		get := at("address", rawRequest{method: "GET", path: "/cacerts"})
		ok(t, f.raw(t, get))
		wrong := at("address", enroll(t, "addressed"))
		wrong.header[1] = basic(goodUser, "wrong")
		challenged(t, f.raw(t, wrong))
		tooManyRequests(t, f.raw(t, get), ruleLimitAddress, 30)
		tooManyRequests(t, f.raw(t, at("address", enroll(t, "addressed"))), ruleLimitAddress, 30)
		f.clock.advance(time.Minute)
		ok(t, f.raw(t, get))
	})
	t.Run("one label, and strangers take nothing of it", func(t *testing.T) {
		wrong := at("label", enroll(t, "labelled"))
		wrong.header[1] = basic(goodUser, "wrong")
		for range 4 {
			challenged(t, f.raw(t, wrong))
			ok(t, f.raw(t, at("label", rawRequest{method: "GET", path: "/cacerts"})))
		}
		r := at("label", enroll(t, "labelled"))
		ok(t, f.raw(t, r))
		ok(t, f.raw(t, r))
		tooManyRequests(t, f.raw(t, r), ruleLimitLabel, 30)
		tooManyRequests(t, f.raw(t, wrong), ruleLimitLabel, 30) // before authentication
		ok(t, f.raw(t, at("label", rawRequest{method: "GET", path: "/cacerts"})))
	})
}

// A line of stations behind one address is not one station.
func TestStationsAreExempt(t *testing.T) {
	f := newHandler(t, withLabels(Label{Name: "address", Limits: Limits{Address: 1}}), func(_ *fixture, c *Config) {
		c.Stations = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:1::/48")}
	})
	get := func(address string) int {
		r := httptest.NewRequest(http.MethodGet, "https://est.test/.well-known/est/address/cacerts", nil)
		r.RemoteAddr = address
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		return w.Code
	}
	for _, c := range []struct {
		address string
		want    int
	}{
		{"192.0.2.7:1", 200}, {"192.0.2.7:2", 200}, {"[::ffff:192.0.2.7]:3", 200}, {"[2001:db8:1::7]:1", 200}, {"[2001:db8:1::7]:1", 200},
		{"192.0.3.7:1", 200}, {"192.0.3.7:2", 429}, {"192.0.3.8:1", 200},
		{"[2001:db8:2::1]:1", 200}, {"[2001:db8:2::ffff:1]:1", 429}, {"[2001:db8:2:1::1]:1", 200},
	} {
		if got := get(c.address); got != c.want {
			t.Errorf("%s: status %d, want %d", c.address, got, c.want)
		}
	}
}

func TestBuckets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := newBuckets[int]()
	for i := range 3 {
		if wait := b.take(now, 1, 3, false); wait != 0 {
			t.Errorf("take %d: wait %v", i, wait)
		}
	}
	if wait := b.take(now, 1, 3, false); wait != 20*time.Second {
		t.Errorf("wait %v", wait)
	}
	if wait := b.take(now.Add(5*time.Second), 1, 3, false); wait != 15*time.Second {
		t.Errorf("wait %v", wait)
	}
	if wait := b.take(now.Add(20*time.Second), 1, 3, true); wait != 0 {
		t.Errorf("look: wait %v", wait)
	}
	if wait := b.take(now.Add(20*time.Second), 1, 3, false); wait != 0 {
		t.Errorf("wait %v after a look", wait)
	}
	if wait := b.take(now.Add(20*time.Second), 1, 3, false); wait == 0 {
		t.Error("no wait")
	}
	for range 100 {
		if b.take(now, 2, 0, false) != 0 {
			t.Fatal("a limit of zero limits")
		}
	}
	// Memory stays bounded, and the fullest outlives a flood of others.
	for i := range 2 * maxBuckets {
		b.take(now.Add(20*time.Second), 10+i, 3, false)
	}
	if len(b.m) > maxBuckets {
		t.Errorf("%d buckets", len(b.m))
	}
	if b.take(now.Add(20*time.Second), 1, 3, false) == 0 {
		t.Error("a flood emptied a bucket")
	}
}
