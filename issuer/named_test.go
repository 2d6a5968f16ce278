package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// withNamed adds profiles for claims and officers.
func withNamed(t testing.TB) func(*issuer.Config) {
	return func(c *issuer.Config) {
		c.Profiles["claim"] = profile(t, "claim", issuer.ProfileConfig{Preset: "claim"})
		c.Profiles["officer"] = profile(t, "officer", issuer.ProfileConfig{Preset: "officer"})
	}
}

func TestClaim(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNamed(t)))
	wo := order(t, l, "WO-2026.17", func(o *ledger.Order) { o.NotAfter = time.Now().Add(40 * 24 * time.Hour) })
	key := pkitest.Key(t, "RSA-2048")
	uri, _ := url.Parse("urn:dev:x")
	// What the request says of itself counts for nothing.
	request := signed(t, key, pkix.Name{CommonName: "press-1", Organization: []string{"Somebody"}}, func(r *x509.CertificateRequest) {
		r.DNSNames, r.IPAddresses, r.URIs, r.EmailAddresses = []string{"ca.example"}, []net.IP{net.IPv4(192, 0, 2, 1)}, []*url.URL{uri}, []string{"a@example.com"}
	})
	claim, err := ra.EnrollClaim(t.Context(), wo, "issuing", "claim", request, admin)
	if err != nil {
		t.Fatal(err)
	}
	c := claim.Certificate
	if c.Subject.String() != "CN=WO-2026.17" || len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses) != 0 ||
		c.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || c.IsCA {
		t.Errorf("claim certificate for %s: %v %v, usage %v %v", c.Subject, c.DNSNames, c.URIs, c.KeyUsage, c.ExtKeyUsage)
	}
	if !c.NotAfter.Equal(wo.NotAfter.UTC().Truncate(time.Second)) {
		t.Errorf("it ends at %v, the order at %v", c.NotAfter, wo.NotAfter)
	}
	record, err := ra.Holder(t.Context(), c)
	if err != nil || record.Purpose != ledger.ForClaim || record.Order != wo.ID || record.Device != "" {
		t.Fatalf("record %+v, %v", record, err)
	}
	if got, err := ra.ClaimOrder(t.Context(), "line", record); err != nil || got.ID != wo.ID {
		t.Errorf("its order: %v, %v", got.ID, err)
	}
	if n := taken(t, l, wo.ID); n != 0 {
		t.Errorf("the claim took %d units", n)
	}
	// It authenticates a device's request.
	ask := by(wo.ID)
	ask.Requester.Kind, ask.CSR = "claim", csr(t, pkitest.NewKey(t), "press-1")
	if _, err := ra.Enroll(t.Context(), ask); err != nil || taken(t, l, wo.ID) != 1 {
		t.Errorf("enrolling by claim: %v", err)
	}
	// The same key for another order is another certificate.
	second := order(t, l, "WO-2026.18", nil)
	other, err := ra.EnrollClaim(t.Context(), second, "issuing", "claim", request, admin)
	if err != nil || other.Serial == claim.Serial || other.Certificate.Subject.CommonName != second.ID {
		t.Errorf("for another order: %v %v", other.Serial, err)
	}

	early := order(t, l, "early", func(o *ledger.Order) { o.NotBefore = time.Now().Add(10 * time.Minute) })
	if _, err := ra.EnrollClaim(t.Context(), early, "issuing", "claim", request, admin); err != nil {
		t.Errorf("before the window begins: %v", err)
	}
	for name, test := range map[string]struct {
		rule   string
		kind   issuer.Kind
		change func(o *ledger.Order) (profile string)
	}{
		"killed":                   {"order-killed", issuer.Forbidden, func(o *ledger.Order) string { o.State = ledger.OrderKilled; return "claim" }},
		"closed":                   {"order-closed", issuer.Forbidden, func(o *ledger.Order) string { o.State = ledger.OrderClosed; return "claim" }},
		"ended":                    {"order-expired", issuer.Forbidden, func(o *ledger.Order) string { o.NotAfter = time.Now().Add(-time.Second); return "claim" }},
		"without an ID":            {"order-unknown", issuer.Forbidden, func(o *ledger.Order) string { o.ID = ""; return "claim" }},
		"too long an ID":           {"subject", issuer.Malformed, func(o *ledger.Order) string { o.ID = strings.Repeat("a", 65); return "claim" }},
		"a device's profile":       {"purpose", issuer.Malformed, func(o *ledger.Order) string { return "device" }},
		"an officer's profile":     {"purpose", issuer.Malformed, func(o *ledger.Order) string { return "officer" }},
		"longer than its CA lives": {"issuer-lifetime", issuer.Unavailable, func(o *ledger.Order) string { o.NotAfter = time.Now().AddDate(11, 0, 0); return "claim" }},
	} {
		changed := wo
		p := test.change(&changed)
		_, err := ra.EnrollClaim(t.Context(), changed, "issuing", p, request, admin)
		t.Log(name)
		wantRefused(t, err, test.kind, test.rule)
	}
	if _, err := ra.EnrollClaim(t.Context(), wo, "issuing", "nowhere", request, admin); !errors.Is(err, issuer.ErrNoProfile) {
		t.Errorf("without a profile: %v", err)
	}
}

func TestOfficer(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNamed(t)))
	key, other := pkitest.NewKey(t), pkitest.NewKey(t)
	der := func(k any) []byte {
		b, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	request := csr(t, key, "somebody else")
	answer, err := ra.EnrollOfficer(t.Context(), "Ada Lovelace", "issuing", "officer", request, der(key.Public()), admin)
	if err != nil {
		t.Fatal(err)
	}
	c := answer.Certificate
	if c.Subject.String() != "CN=Ada Lovelace" || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.DNSNames) != 0 {
		t.Errorf("officer's certificate for %s, usages %v", c.Subject, c.ExtKeyUsage)
	}
	if days := time.Until(c.NotAfter).Hours() / 24; days < 364 || days > 365 {
		t.Errorf("it lives for %v days", days)
	}
	record, err := l.Certificate(t.Context(), answer.Serial)
	if err != nil || record.Purpose != ledger.ForOfficer || record.Device != "" || record.Order != "" {
		t.Errorf("record %+v, %v", record, err)
	}
	// A person's certificate is no device's.
	_, err = ra.Holder(t.Context(), c)
	wantRefused(t, err, issuer.Forbidden, "certificate-purpose")

	enroll := func(name, profile string, key []byte) error {
		_, err := ra.EnrollOfficer(t.Context(), name, "issuing", profile, request, key, admin)
		return err
	}
	wantRefused(t, enroll("ada", "officer", der(other.Public())), issuer.Forbidden, "principal-key")
	wantRefused(t, enroll("ada", "officer", der(pkitest.Key(t, "RSA-2048").Public())), issuer.Forbidden, "principal-key")
	wantRefused(t, enroll("ada", "officer", nil), issuer.Conflict, "principal-key")
	wantRefused(t, enroll("ada", "officer", []byte("garbage")), issuer.Conflict, "principal-key")
	wantRefused(t, enroll("", "officer", der(key.Public())), issuer.Malformed, "subject")
	wantRefused(t, enroll("ada", "claim", der(key.Public())), issuer.Malformed, "purpose")
	wantRefused(t, enroll("ada", "device", der(key.Public())), issuer.Malformed, "purpose")
}

// TestNamedOnlyByTheirOwn asks for claims and officers as one asks for a
// device.
func TestNamedOnlyByTheirOwn(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, withNamed(t)))
	order(t, l, "wo", nil)
	before := len(everything(t, l))
	for _, p := range []string{"claim", "officer"} {
		for _, rule := range []issuer.Rule{issuer.Trusted, issuer.Inventory, issuer.ByOrder} {
			r := by("wo")
			if r.Authorize = rule; rule != issuer.ByOrder {
				r.Order = ""
			}
			r.Profile, r.Requester, r.CSR = p, admin, csr(t, pkitest.NewKey(t), "wo")
			_, err := ra.Enroll(t.Context(), r)
			wantRefused(t, err, issuer.Forbidden, "purpose")
		}
	}
	if after := len(everything(t, l)); after != before {
		t.Errorf("left %d records", after-before)
	}
}

// TestNamedProfiles sets what the server decides itself.
func TestNamedProfiles(t *testing.T) {
	hour := time.Hour
	for field, c := range map[string]issuer.ProfileConfig{
		"device_id":          {DeviceID: "commonName"},
		"subject":            {Subject: map[string]issuer.Attribute{"commonName": {Pattern: "x"}}},
		"san":                {SAN: issuer.SANConfig{DNS: ".*"}},
		"extended_key_usage": {ExtendedKeyUsage: []string{"serverAuth"}},
		"repeat":             {Repeat: &hour},
		"outlive_issuer":     {OutliveIssuer: true},
		"no_expiry":          {NoExpiry: true, OutliveIssuer: true},
	} {
		for _, preset := range []string{"claim", "officer"} {
			c.Preset = preset
			if _, err := issuer.NewProfile("p", c, ""); err == nil || field != "no_expiry" && !strings.Contains(err.Error(), ": "+field+": ") {
				t.Errorf("%s %s: %v", preset, field, err)
			}
		}
	}
	short := profile(t, "claim", issuer.ProfileConfig{Preset: "claim", Keys: []string{string(ca.P256)}, Validity: time.Hour})
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Profiles["claim"] = short }))
	wo := order(t, l, "wo", func(o *ledger.Order) { o.NotAfter = time.Now().Add(48 * time.Hour) })
	answer, err := ra.EnrollClaim(t.Context(), wo, "issuing", "claim", csr(t, pkitest.NewKey(t), "x"), admin)
	if err != nil || time.Until(answer.Certificate.NotAfter) > time.Hour {
		t.Errorf("past the validity that is set: %v, %v", answer.Certificate, err)
	}
	// A claim is as long as its order, so its CA need not outlive the profile's
	// bound.
	if err := ra.Usable("claim", "issuing"); err != nil {
		t.Error(err)
	}
}
