package dpsreg

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// papers makes certificates of one device for tests that need no service.
type papers struct {
	t   testing.TB
	now time.Time
	key *ecdsa.PrivateKey
	n   int64
	all []ledger.Certificate
}

func newPapers(t testing.TB) *papers {
	return &papers{t: t, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), key: pkitest.NewKey(t).(*ecdsa.PrivateKey)}
}

// add makes a certificate that was issued so many days ago and lives for ninety.
func (p *papers) add(daysAgo int, change ...func(*ledger.Certificate)) ledger.Certificate {
	p.t.Helper()
	p.n++
	issued := p.now.AddDate(0, 0, -daysAgo)
	c := ledger.Certificate{
		Serial: ledger.Serial(fmt.Sprintf("%02x", p.n)), Issuer: "line", Profile: "azure", Label: "line", Purpose: ledger.ForDevice,
		Device: "pump-1", Requester: ledger.Requester{Kind: "secret", Name: "pump-1"}, State: ledger.Valid,
		NotBefore: issued.Add(-time.Hour), NotAfter: issued.AddDate(0, 0, 90), IssuedAt: issued, Subject: "pump-1",
	}
	for _, f := range change {
		f(&c)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(p.n), Subject: pkix.Name{CommonName: c.Subject}, NotBefore: c.NotBefore, NotAfter: c.NotAfter}
	var err error
	if c.DER, err = x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key); err != nil {
		p.t.Fatal(err)
	}
	p.all = append(p.all, c)
	return c
}

func revoked(c *ledger.Certificate) { c.State = ledger.Revoked }
func byCertificate(serial ledger.Serial) func(*ledger.Certificate) {
	return func(c *ledger.Certificate) {
		c.Requester = ledger.Requester{Kind: "certificate", Name: string(serial)}
	}
}
func living(days int) func(*ledger.Certificate) {
	return func(c *ledger.Certificate) { c.NotAfter = c.IssuedAt.AddDate(0, 0, days) }
}
func called(name string) func(*ledger.Certificate) {
	return func(c *ledger.Certificate) { c.Subject = name }
}

// TestWanted goes through what can be said of a device. Wanted is "ID kind reason
// serials", for each registration id; serials are numbered in the order of addition.
func TestWanted(t *testing.T) {
	groups := Target{Groups: []Group{{ID: "pumps", Anchors: []string{"line"}}}}
	pins := Target{Enrollments: []Enrollment{{Name: "pins", Profiles: []string{"azure"}}}}
	held, retired := ledger.Device{ID: "pump-1", State: ledger.Held}, ledger.Device{ID: "pump-1", State: ledger.Retired}
	released := ledger.Device{ID: "pump-1", State: ledger.Enrolled, ChangedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ChangedBy: "somebody"}
	for _, tt := range []struct {
		name         string
		target       Target
		device       ledger.Device
		certificates func(*papers)
		want         string
	}{
		{"nobody", pins, ledger.Device{}, func(*papers) {}, ""},
		{"one in force, group", groups, ledger.Device{}, func(p *papers) { p.add(1) }, "pump-1 nothing"},
		{"one in force, pinned", pins, ledger.Device{}, func(p *papers) { p.add(1) }, "pump-1 pinned 01"},
		{"released, group", groups, released, func(p *papers) { p.add(1) }, "pump-1 nothing"},
		{"released, pinned", pins, released, func(p *papers) { p.add(1) }, "pump-1 pinned 01"},
		{"held, group", groups, held, func(p *papers) { p.add(1) }, "pump-1 blocked held 01"},
		{"held, pinned", pins, held, func(p *papers) { p.add(1) }, "pump-1 blocked held 01"},
		{"held without a certificate", pins, held, func(*papers) {}, ""},
		{"retired, three certificates: two newest", groups, retired, func(p *papers) { p.add(9); p.add(1); p.add(5) }, "pump-1 blocked retired 02 03"},
		{"held, what has not expired comes first", groups, held, func(p *papers) { p.add(200); p.add(100); p.add(80) }, "pump-1 blocked held 03 02"},
		{"held, all expired", groups, held, func(p *papers) { p.add(200) }, "pump-1 blocked held 01"},

		{"superseded revoked", groups, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(1) }, "pump-1 nothing"},
		{"superseded revoked, pinned", pins, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(1) }, "pump-1 pinned 02"},
		{"last revoked", groups, ledger.Device{}, func(p *papers) { p.add(1, revoked) }, "pump-1 blocked revoked 01"},
		{"last revoked, pinned", pins, ledger.Device{}, func(p *papers) { p.add(1, revoked) }, "pump-1 blocked revoked 01"},
		{"both revoked", groups, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(1, revoked) }, "pump-1 blocked revoked 02 01"},
		{"newest revoked, an older one in force", groups, ledger.Device{}, func(p *papers) { p.add(9); p.add(1, revoked) }, "pump-1 nothing"},
		{"newest revoked, an older one in force, pinned", pins, ledger.Device{}, func(p *papers) { p.add(9); p.add(1, revoked) }, "pump-1 pinned 01"},
		{"newest revoked, the older one expired", groups, ledger.Device{}, func(p *papers) { p.add(100); p.add(1, revoked) }, "pump-1 blocked revoked 02 01"},
		{"expired, an older one was revoked", groups, ledger.Device{}, func(p *papers) { p.add(200, revoked); p.add(100) }, "pump-1 nothing"},
		{"expired, an older one was revoked and has not expired", groups, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(5, living(4)) }, "pump-1 blocked revoked 01 02"},
		{"the same, pinned", pins, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(5, living(4)) }, "pump-1 blocked revoked 01 02"},
		{"the same, and one in force", groups, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(5, living(4)); p.add(4) }, "pump-1 nothing"},
		{"expired", groups, ledger.Device{}, func(p *papers) { p.add(100) }, "pump-1 nothing"},
		{"expired, pinned", pins, ledger.Device{}, func(p *papers) { p.add(100) }, "pump-1 kept"},
		{"revoked, and has expired since", groups, ledger.Device{}, func(p *papers) { p.add(100, revoked) }, "pump-1 blocked revoked 01"},
		{"new certificate after a revocation", groups, ledger.Device{}, func(p *papers) { p.add(5, revoked); p.add(0) }, "pump-1 nothing"},
		{"new certificate after a revocation, pinned", pins, ledger.Device{}, func(p *papers) { p.add(5, revoked); p.add(0) }, "pump-1 pinned 02"},
		{"not valid yet", pins, ledger.Device{}, func(p *papers) { p.add(-2) }, "pump-1 kept"},

		{"two keys: the newest, and the next newest", pins, ledger.Device{}, func(p *papers) { p.add(9); p.add(5); p.add(1) }, "pump-1 pinned 03 02"},
		{"the one that asked", pins, ledger.Device{}, func(p *papers) { p.add(9); p.add(5); p.add(1, byCertificate("01")) }, "pump-1 pinned 03 01"},
		{"the one that asked is revoked", pins, ledger.Device{}, func(p *papers) { p.add(9, revoked); p.add(5); p.add(1, byCertificate("01")) }, "pump-1 pinned 03 02"},
		{"the one that asked has expired", pins, ledger.Device{}, func(p *papers) { p.add(100); p.add(5); p.add(1, byCertificate("01")) }, "pump-1 pinned 03 02"},
		{"a user called like a serial number", pins, ledger.Device{}, func(p *papers) {
			p.add(9)
			p.add(5)
			p.add(1, func(c *ledger.Certificate) { c.Requester = ledger.Requester{Kind: "password", Name: "01"} })
		}, "pump-1 pinned 03 02"},

		{"IoT Edge: several certificates of one name", pins, ledger.Device{}, func(p *papers) {
			p.add(20, func(c *ledger.Certificate) { c.Profile = "est-id" })
			p.add(10, byCertificate("01"))
			p.add(1, byCertificate("01"))
		}, "pump-1 pinned 03 02"},
		{"IoT Edge: only the EST identity", pins, ledger.Device{}, func(p *papers) { p.add(1, func(c *ledger.Certificate) { c.Profile = "est-id" }) }, "pump-1 nothing"},
		{"two names", pins, ledger.Device{}, func(p *papers) { p.add(9, called("pump-1-b")); p.add(1) }, "pump-1 pinned 02, pump-1-b pinned 01"},
		{"two names, held", pins, held, func(p *papers) { p.add(9, called("pump-1-b")); p.add(1) }, "pump-1 blocked held 02, pump-1-b blocked held 01"},
		{"upper case is one name", pins, ledger.Device{}, func(p *papers) { p.add(9, called("PUMP-1")); p.add(1) }, "pump-1 pinned 02 01"},
		{"a name that is no registration id, pinned", pins, ledger.Device{}, func(p *papers) { p.add(1, called("pump 1")) }, " pinned 01"},
		{"a name that is no registration id, held", pins, held, func(p *papers) { p.add(1, called("pump 1")) }, ""},
		{"a name that is no registration id, group", groups, ledger.Device{}, func(p *papers) { p.add(1, called("pump.")) }, ""},

		{"gateway CAs never count", groups, ledger.Device{}, func(p *papers) {
			p.add(9, revoked)
			p.add(1, func(c *ledger.Certificate) { c.Purpose = ledger.ForGateway })
		}, "pump-1 blocked revoked 01"},
		{"a revoked gateway CA", groups, ledger.Device{}, func(p *papers) {
			p.add(9)
			p.add(1, func(c *ledger.Certificate) { c.Purpose, c.State = ledger.ForGateway, ledger.Revoked })
		}, "pump-1 nothing"},
		{"void and open serials never count", groups, ledger.Device{}, func(p *papers) {
			p.add(9, revoked)
			p.add(1, func(c *ledger.Certificate) { c.State = ledger.Voided })
			p.add(1, func(c *ledger.Certificate) { c.State = ledger.Open })
		}, "pump-1 blocked revoked 01"},
	} {
		p := newPapers(t)
		tt.certificates(p)
		for i := range p.all { // in whatever order they are listed
			list := append(slices.Clone(p.all[i:]), p.all[:i]...)
			wants, err := wanted(tt.target, tt.device, list, p.now)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if got := wantText(wants); got != tt.want {
				t.Errorf("%s: %q instead of %q", tt.name, got, tt.want)
				break
			}
		}
	}
}

func wantText(wants []want) string {
	var all []string
	for _, w := range wants {
		words := []string{w.RegistrationID, w.Kind.String()}
		if w.Reason != "" {
			words = append(words, w.Reason)
		}
		for _, c := range w.Certificates {
			words = append(words, string(c.Serial))
		}
		if (w.Enrollment != nil) != (w.Kind == wantPinned || w.Kind == wantKept) {
			words = append(words, "enrollment!")
		}
		all = append(all, strings.Join(words, " "))
	}
	return strings.Join(all, ", ")
}

// TestWantedUnreadable: a certificate that cannot be read is an error, not a device
// without one.
func TestWantedUnreadable(t *testing.T) {
	p := newPapers(t)
	c := p.add(1)
	c.DER = c.DER[:40]
	if wants, err := wanted(Target{}, ledger.Device{}, []ledger.Certificate{c}, p.now); err == nil || wants != nil {
		t.Errorf("%v, %v", wants, err)
	}
}

// TestEnrollmentMatches: the first that matches counts, and what is not set matches
// everything.
func TestEnrollmentMatches(t *testing.T) {
	target := Target{Enrollments: []Enrollment{
		{Name: "order", Orders: []string{"A-1"}},
		{Name: "both", Profiles: []string{"azure", "edge"}, Labels: []string{"line"}},
		{Name: "label", Labels: []string{"lab"}},
	}}
	for _, tt := range []struct{ profile, label, order, want string }{
		{"azure", "line", "A-1", "order"},
		{"azure", "line", "A-2", "both"},
		{"edge", "line", "", "both"},
		{"azure", "other", "", ""},
		{"other", "line", "", ""},
		{"other", "lab", "", "label"},
	} {
		c := ledger.Certificate{Purpose: ledger.ForDevice, Device: "pump-1", Profile: tt.profile, Label: tt.label, Order: tt.order}
		got := ""
		if e := target.enrollment(c); e != nil {
			got = e.Name
		}
		if got != tt.want || target.Enrolled(c) != (tt.want != "") {
			t.Errorf("%+v: %q, enrolled %v", tt, got, target.Enrolled(c))
		}
		for _, other := range []ledger.Purpose{ledger.ForGateway, ledger.ForServer, ledger.ForVerification} {
			if c.Purpose = other; target.Enrolled(c) {
				t.Errorf("purpose %s is enrolled", other)
			}
		}
	}
}

// TestSlots: the older certificate is primary until the device has registered after the
// newer one was issued.
func TestSlots(t *testing.T) {
	p := newPapers(t)
	older := p.add(9)
	newer := p.add(1, byCertificate(older.Serial))
	both := []ledger.Certificate{newer, older}
	at := func(d time.Duration) *dps.RegistrationState {
		when := newer.IssuedAt.Add(d)
		return &dps.RegistrationState{Status: "assigned", Updated: &when}
	}
	for _, tt := range []struct {
		name               string
		certificates       []ledger.Certificate
		state              *dps.RegistrationState
		primary, secondary ledger.Serial
	}{
		{"none", nil, nil, "", ""},
		{"one", both[:1], nil, newer.Serial, ""},
		{"one that has registered", both[:1], at(time.Hour), newer.Serial, ""},
		{"never registered", both, nil, older.Serial, newer.Serial},
		{"no time", both, &dps.RegistrationState{Status: "assigned"}, older.Serial, newer.Serial},
		{"not assigned", both, &dps.RegistrationState{Status: "unassigned", Updated: at(time.Hour).Updated}, older.Serial, newer.Serial},
		{"registered before", both, at(-time.Second), older.Serial, newer.Serial},
		{"registered at that moment", both, at(0), older.Serial, newer.Serial},
		{"registered since", both, at(time.Second), newer.Serial, older.Serial},
	} {
		primary, secondary := slots(tt.certificates, tt.state)
		serial := func(c *ledger.Certificate) ledger.Serial {
			if c == nil {
				return ""
			}
			return c.Serial
		}
		if serial(primary) != tt.primary || serial(secondary) != tt.secondary {
			t.Errorf("%s: %s and %s", tt.name, serial(primary), serial(secondary))
		}
	}
}

// TestWasBlocked: only what may have been blocked costs calls to see that it is not.
func TestWasBlocked(t *testing.T) {
	for _, tt := range []struct {
		name         string
		device       ledger.Device
		certificates func(p *papers, revokedAgo func(days int) func(*ledger.Certificate))
		want         bool
	}{
		{"nothing", ledger.Device{}, func(p *papers, _ func(int) func(*ledger.Certificate)) { p.add(1) }, false},
		{"released", ledger.Device{ChangedAt: time.Unix(1, 0)}, func(p *papers, _ func(int) func(*ledger.Certificate)) { p.add(1) }, true},
		{"revoked", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) { p.add(9, ago(5)) }, true},
		{"superseded and then revoked", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) { p.add(9, ago(5)); p.add(6) }, false},
		{"superseded and revoked at once", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) { p.add(9, ago(5)); p.add(5) }, false},
		{"revoked and then replaced", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) { p.add(9, ago(5)); p.add(4) }, true},
		{"both, one after the other", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) {
			p.add(9, ago(5))
			p.add(6, ago(1))
			p.add(2)
		}, false},
		{"the second was the newest", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) {
			p.add(9, ago(5))
			p.add(6, ago(3))
			p.add(2)
		}, true},
		{"superseded by one that expired before it", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) {
			p.add(9, ago(5))
			p.add(6, living(2))
			p.add(1)
		}, true},
		{"superseded by what was never signed", ledger.Device{}, func(p *papers, ago func(int) func(*ledger.Certificate)) {
			p.add(9, ago(5))
			p.add(6)
			p.all[1].DER = nil
		}, true},
	} {
		p := newPapers(t)
		tt.certificates(p, func(days int) func(*ledger.Certificate) {
			return func(c *ledger.Certificate) { c.State, c.RevokedAt = ledger.Revoked, p.now.AddDate(0, 0, -days) }
		})
		if got := (standing{device: tt.device, certificates: p.all}).wasBlocked(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
