package est

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/issuer"
)

func TestGrace(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "grace", Own: []string{"device", "other"}, Passwords: goodPasswords(), Gateway: "edge-ca", Renewal: Renewal{Grace: time.Hour}},
	), func(f *fixture, c *Config) {
		signer := f.authority.root.server(t)
		c.Signer = func() (*tls.Certificate, error) { return signer, nil }
		c.Labels[len(c.Labels)-1].Keygen = &Keygen{Plain: true}
	})
	ended := func(name string, ago time.Duration) *tls.Certificate {
		return f.authority.own(t, name, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = f.clock.now().Add(-24*time.Hour), f.clock.now().Add(-ago)
		})
	}
	renew := func(certificate *tls.Certificate, op string) message {
		r := reenroll(t, certificate)
		r.path = "/.well-known/est/grace/" + op
		return f.raw(t, r)
	}
	recent, old := ended("recent", 59*time.Minute), ended("old", 61*time.Minute)

	t.Run("55 renews within it, and not after", func(t *testing.T) {
		for _, op := range []string{"simplereenroll", "simpleenroll"} {
			if m := renew(recent, op); m.status != 200 {
				t.Errorf("%s: status %d: %s", op, m.status, m.body)
			}
			if got := f.authority.last(t); got.Device != "recent" || got.Gateway != "" {
				t.Errorf("request %+v", got)
			}
			refused(t, renew(old, op), 403, ruleExpired)
		}
		r := reenroll(t, recent)
		r.path, r.body = "/.well-known/est/grace/simplereenroll", base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), "recent"))
		if m := f.raw(t, r); m.status != 200 {
			t.Errorf("re-key: status %d: %s", m.status, m.body)
		}
	})
	t.Run("55 not at a label without", func(t *testing.T) {
		refused(t, f.raw(t, reenroll(t, recent)), 403, ruleExpired)
	})
	t.Run("55 nothing but renewing itself", func(t *testing.T) {
		refused(t, renew(recent, "serverkeygen"), 403, ruleExpired)
		r := reenroll(t, recent)
		r.path, r.body = "/.well-known/est/grace/simpleenroll", base64.StdEncoding.EncodeToString(gatewayCSR(t, "recent"))
		refused(t, f.raw(t, r), 403, ruleExpired)
		r.body = base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), "another"))
		refused(t, f.raw(t, r), 403, "device")
		other := ended("other", time.Minute)
		f.authority.remember(other.Leaf, "other", nil)
		refused(t, renew(other, "simplereenroll"), 403, ruleExpired)
	})
	t.Run("55 never revoked, never early", func(t *testing.T) {
		revoked := ended("revoked", time.Minute)
		f.authority.revoke(revoked)
		refused(t, renew(revoked, "simplereenroll"), 403, "certificate-revoked")
		early := f.authority.own(t, "early", func(c *x509.Certificate) { c.NotBefore = f.clock.now().Add(time.Minute) })
		refused(t, renew(early, "simplereenroll"), 403, ruleNotYetValid)
	})
	t.Run("30 the path above it is in force", func(t *testing.T) {
		valid := f.authority.own(t, "valid", nil)
		f.authority.withdrawn = true
		refused(t, renew(recent, "simplereenroll"), 403, ruleIssuer)
		refused(t, renew(valid, "simplereenroll"), 403, ruleIssuer)
		f.authority.withdrawn = false
		short := *f.authority.root.certificate
		short.NotAfter = f.clock.now().Add(-time.Minute)
		f.authority.between = &short
		refused(t, renew(recent, "simplereenroll"), 403, ruleIssuer)
		f.authority.between = nil
	})
	t.Run("a password beside it enrolls", func(t *testing.T) {
		r := enroll(t, "old")
		r.path, r.certificate = "/.well-known/est/grace/simpleenroll", old
		if m := f.raw(t, r); m.status != 200 || f.authority.last(t).Requester.Kind != "password" {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
}

// gatewayCSR asks for a CA certificate.
func gatewayCSR(t *testing.T, name string) []byte {
	t.Helper()
	constraints, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{
		Subject: named(name), ExtraExtensions: []pkix.Extension{{Id: oidBasicConstraints, Critical: true, Value: constraints}},
	}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestRenewalRules(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "apart", Passwords: goodPasswords(), Own: []string{"device", "other"}, Gateway: "edge-ca", Authorize: issuer.Inventory,
			Renewal: Renewal{Authorize: issuer.Trusted, ChangeNames: true}},
		Label{Name: "factor", Passwords: goodPasswords(), OneTime: true, Own: []string{"device", "other"}, Renewal: Renewal{Password: true}},
	))
	own, other := f.authority.own(t, "press", nil), f.authority.issuing.device(t, named("press"), nil)
	f.authority.remember(other.Leaf, "other", nil)
	ask := func(label, op string, certificate *tls.Certificate, csr []byte, header ...string) message {
		return f.raw(t, rawRequest{method: "POST", path: "/.well-known/est/" + label + "/" + op, certificate: certificate,
			header: append([]string{typePKCS10}, header...), body: base64.StdEncoding.EncodeToString(csr)})
	}
	csr := newCSR(t, newKey(t), "press")

	t.Run("51 53 rules of renewal for the label's own profile", func(t *testing.T) {
		for _, op := range []string{"simplereenroll", "simpleenroll"} {
			ask("apart", op, own, csr).certificates(t)
			if got := f.authority.last(t); got.Authorize != issuer.Trusted || !got.ChangeNames || got.Gateway != "" || (got.Renews == nil) == (op == "simplereenroll") || (got.Holds == nil) == (op == "simpleenroll") {
				t.Errorf("%s: request %+v", op, got)
			}
		}
	})
	t.Run("51 those of enrollment for every other", func(t *testing.T) {
		ask("apart", "simpleenroll", other, csr).certificates(t)
		if got := f.authority.last(t); got.Authorize != issuer.Inventory || got.ChangeNames || got.Holds != nil || got.Device != "press" || got.Gateway != "edge-ca" {
			t.Errorf("request %+v", got)
		}
		ask("apart", "simpleenroll", nil, csr, basic(goodUser, goodSecret)).certificates(t)
		if got := f.authority.last(t); got.Authorize != issuer.Inventory {
			t.Errorf("request %+v", got)
		}
	})
	t.Run("a gateway's certificate is not renewed but enrolled", func(t *testing.T) {
		ask("apart", "simpleenroll", own, gatewayCSR(t, "press"))
		if got := f.authority.last(t); got.Authorize != issuer.Inventory || got.Holds != nil || got.Gateway != "edge-ca" || got.Device != "press" {
			t.Errorf("request %+v", got)
		}
	})
	t.Run("30 password beside the certificate", func(t *testing.T) {
		f.authority.secrets["press"], f.authority.secrets["lathe"] = "one", "two"
		for _, op := range []string{"simplereenroll", "simpleenroll"} {
			challenged(t, ask("factor", op, own, csr))
			challenged(t, ask("factor", op, own, csr, basic(goodUser, "wrong")))
			ask("factor", op, own, csr, basic(goodUser, goodSecret)).certificates(t)
			if got := f.authority.last(t); got.Requester.Kind != "certificate" || got.Device != "press" || got.Secret != [32]byte{} {
				t.Errorf("request %+v", got)
			}
			ask("factor", op, own, csr, basic("press", "one")).certificates(t)
			if got := f.authority.last(t); got.Requester.Kind != "certificate" || got.Secret == [32]byte{} {
				t.Errorf("request %+v", got)
			}
			refused(t, ask("factor", op, own, csr, basic("lathe", "two")), 403, ruleBoth)
		}
		// A password alone renews nothing.
		refused(t, ask("factor", "simplereenroll", nil, csr, basic(goodUser, goodSecret)), 403, ruleNoCertificate)
		// Other certificates enroll as before.
		ask("factor", "simpleenroll", other, csr).certificates(t)
	})
}

// Third-party certificates may ask for other names where the label says so: RFC
// 7030, Section 4.2.1.
func TestChangeNames(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "change", ChangeNames: true, Passwords: goodPasswords(), Own: []string{"device"}, Maker: &Maker{Device: "commonName"}},
		Label{Name: "keep", Maker: &Maker{Device: "commonName"}},
	))
	csr, err := pkcs10.Create(&x509.CertificateRequest{Subject: named("press")}, pkcs10.Attributes{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	maker := f.maker.device(t, named("press"), nil)
	for _, c := range []struct {
		label       string
		certificate *tls.Certificate
		header      []string
		want        bool
	}{
		{"change", maker, nil, true}, {"keep", maker, nil, false}, {"change", f.authority.own(t, "press", nil), nil, false},
		{"change", nil, []string{basic(goodUser, goodSecret)}, false},
	} {
		f.raw(t, rawRequest{method: "POST", path: "/.well-known/est/" + c.label + "/simpleenroll", certificate: c.certificate,
			header: append([]string{typePKCS10}, c.header...), body: base64.StdEncoding.EncodeToString(csr)}).certificates(t)
		if got := f.authority.last(t); got.ChangeNames != c.want {
			t.Errorf("%s as %s: change names %t", c.label, got.Requester.Kind, got.ChangeNames)
		}
	}
}

func TestRegistrationAuthority(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "ra", RAs: []string{"ra"}, Own: []string{"device"}, Approval: true, Renewal: Renewal{Authorize: issuer.Inventory, ChangeNames: true}},
		Label{Name: "ra-both", RAs: []string{"ra"}, Passwords: goodPasswords(), OneTime: true, Both: true},
	))
	certificate := f.authority.registration(t, "ra")
	ask := func(label, op, device string, certificate *tls.Certificate, header ...string) message {
		return f.raw(t, rawRequest{method: "POST", path: "/.well-known/est/" + label + "/" + op, certificate: certificate,
			header: append([]string{typePKCS10}, header...), body: base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), device))})
	}
	t.Run("33 enrolls any device", func(t *testing.T) {
		for _, device := range []string{"one", "two"} {
			ask("ra", "simpleenroll", device, certificate).certificates(t)
			if got := f.authority.last(t); got.Requester.Kind != "ra" || got.Requester.Name != serial(certificate.Leaf) || got.Device != "" || got.Represents || !got.Approval || got.Authorize != issuer.Trusted {
				t.Errorf("request %+v", got)
			}
		}
	})
	t.Run("33 renews in a device's place", func(t *testing.T) {
		ask("ra", "simplereenroll", "one", certificate).certificates(t)
		if got := f.authority.last(t); !got.Represents || got.Renews != nil || got.Device != "" || got.Approval || got.Authorize != issuer.Inventory || !got.ChangeNames {
			t.Errorf("request %+v", got)
		}
	})
	t.Run("33 only where its profile is listed, and with id-kp-cmcRA", func(t *testing.T) {
		refused(t, ask("own", "simpleenroll", "one", certificate), 403, ruleRA)
		refused(t, ask("ra", "simpleenroll", "one", f.authority.registration(t, "ra-2")), 403, ruleRA)
		plain := f.authority.issuing.device(t, named("Line RA"), nil)
		f.authority.remember(plain.Leaf, "ra", func(r *ledger.Certificate) { r.Purpose, r.Device = ledger.ForRA, "" })
		refused(t, ask("ra", "simpleenroll", "one", plain), 403, ruleRA)
		// The extended key usage alone makes nobody one.
		device := f.authority.own(t, "one", func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, oidCMCRA) })
		refused(t, ask("ra", "simpleenroll", "two", device), 403, "device")
	})
	t.Run("33 expired or revoked as any other", func(t *testing.T) {
		expired := f.authority.issuing.device(t, named("Line RA"), func(c *x509.Certificate) {
			c.NotAfter = f.clock.now().Add(-time.Minute)
			c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, oidCMCRA)
		})
		ra := func(r *ledger.Certificate) { r.Purpose, r.Device = ledger.ForRA, "" }
		f.authority.remember(expired.Leaf, "ra", ra)
		refused(t, ask("ra", "simplereenroll", "one", expired), 403, ruleExpired)
		revoked := f.authority.registration(t, "ra")
		f.authority.remember(revoked.Leaf, "ra", func(r *ledger.Certificate) { ra(r); r.State = ledger.Revoked })
		refused(t, ask("ra", "simpleenroll", "one", revoked), 403, "certificate-revoked")
	})
	t.Run("33 with a password where both are asked for", func(t *testing.T) {
		f.authority.secrets["one"] = "s"
		challenged(t, ask("ra-both", "simpleenroll", "one", certificate))
		ask("ra-both", "simpleenroll", "two", certificate, basic(goodUser, goodSecret)).certificates(t)
		// The secret of a device binds what it is for.
		refused(t, ask("ra-both", "simpleenroll", "two", certificate, basic("one", "s")), 403, "device")
		ask("ra-both", "simpleenroll", "one", certificate, basic("one", "s")).certificates(t)
		if got := f.authority.last(t); got.Requester.Kind != "ra" || got.Device != "one" || got.Secret == [32]byte{} {
			t.Errorf("request %+v", got)
		}
		ask("ra-both", "simplereenroll", "one", certificate).certificates(t) // no rule for renewals there
	})
	if strings.Contains(f.log.String(), goodSecret) {
		t.Error("a secret is in the log")
	}
}
