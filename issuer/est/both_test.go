package est

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"mintmark/issuer"
)

func TestOneTimeSecret(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "once", OneTime: true, Passwords: goodPasswords()},
	))
	f.authority.secrets["press-1"], f.authority.secrets["press-2"] = "s3cret-one", "s3cret-two"
	ask := func(device string, header ...string) message {
		r := enroll(t, device)
		r.path, r.header = "/.well-known/est/once/simpleenroll", append([]string{typePKCS10}, header...)
		return f.raw(t, r)
	}
	t.Run("32 enrolls its own device only", func(t *testing.T) {
		ask("press-1", basic("press-1", "s3cret-one")).certificates(t)
		got := f.authority.last(t)
		if got.Requester.Kind != "secret" || got.Requester.Name != "press-1" || got.Device != "press-1" || got.Secret == [32]byte{} {
			t.Errorf("request %+v", got)
		}
		refused(t, ask("press-2", basic("press-1", "s3cret-one")), 403, "device")
	})
	t.Run("34 the same answer to unknown and wrong, and to wrong of either kind", func(t *testing.T) {
		want := ask("press-1", basic("press-1", "wrong"))
		challenged(t, want)
		for _, header := range []string{basic("press-3", "s3cret-one"), basic("press-1", "s3cret-two"), basic(goodUser, "wrong"), basic(goodUser, "s3cret-one"), basic("press-1", ""), basic("", "")} {
			m := ask("press-1", header)
			challenged(t, m)
			if drop(m.header, "Date") != drop(want.header, "Date") {
				t.Errorf("headers differ:\n%s\n\n%s", m.header, want.header)
			}
		}
	})
	t.Run("a shared password goes on to do", func(t *testing.T) {
		ask("press-9", basic(goodUser, goodSecret)).certificates(t)
		if got := f.authority.last(t); got.Requester.Kind != "password" || got.Device != "" || got.Secret != [32]byte{} {
			t.Errorf("request %+v", got)
		}
	})
	t.Run("34 a device's secret is locked after too many attempts", func(t *testing.T) {
		for range attemptBurst {
			challenged(t, ask("press-2", basic("press-2", "wrong")))
		}
		challenged(t, ask("press-2", basic("press-2", "s3cret-two")))
		if last := f.authority.refused[len(f.authority.refused)-1]; last.Rule != ruleAttempts {
			t.Errorf("record %+v", last)
		}
		f.clock.advance(attemptBurst * attemptLeak)
		ask("press-2", basic("press-2", "s3cret-two")).certificates(t)
	})
	t.Run("a ledger that does not answer is no wrong password", func(t *testing.T) {
		defer func() { f.authority.secretErr = nil }()
		f.authority.secretErr = errors.New("disk on fire")
		if m := ask("press-1", basic("press-1", "s3cret-one")); m.status != 500 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		f.authority.secretErr = &issuer.Refusal{Kind: issuer.Unavailable, Rule: "ledger", Text: "later"}
		refused(t, ask("press-1", basic("press-1", "s3cret-one")), 503, "ledger")
	})
	if log := f.log.String(); strings.Contains(log, "s3cret") {
		t.Error("a secret is in the log")
	}
}

func TestBoth(t *testing.T) {
	f := newFixture(t, withLabels(
		Label{Name: "both", Both: true, OneTime: true, Passwords: goodPasswords(), Own: []string{"device", "other"}, Maker: &Maker{Device: "commonName"}},
	))
	f.authority.secrets["press-1"], f.authority.secrets["press-2"] = "s3cret-one", "s3cret-two"
	maker := f.maker.device(t, named("press-1"), nil)
	other := f.authority.issuing.device(t, named("press-1"), nil)
	f.authority.remember(other.Leaf, "other", nil)
	ask := func(certificate *tls.Certificate, header ...string) message {
		r := enroll(t, "press-1")
		r.path, r.certificate, r.header = "/.well-known/est/both/simpleenroll", certificate, append([]string{typePKCS10}, header...)
		return f.raw(t, r)
	}
	right := basic(goodUser, goodSecret)

	t.Run("one alone is not enough", func(t *testing.T) {
		refused(t, ask(nil, right), 403, ruleNoCertificate)
		refused(t, ask(nil), 403, ruleNoCertificate)
		for _, certificate := range []*tls.Certificate{maker, other} {
			challenged(t, ask(certificate))
			if last := f.authority.refused[len(f.authority.refused)-1]; last.Text != "the certificate is accepted, and a password is needed as well" || last.Requester.Name != serial(certificate.Leaf) || last.Device != "press-1" {
				t.Errorf("record %+v", last)
			}
			challenged(t, ask(certificate, basic(goodUser, "wrong")))
			ask(certificate, right).certificates(t)
			if got := f.authority.last(t); got.Requester.Kind == "password" || got.Requester.Name != serial(certificate.Leaf) || got.Device != "press-1" {
				t.Errorf("request %+v", got)
			}
		}
		if !strings.Contains(f.log.String(), "user=password:"+goodUser) {
			t.Error("the log does not say which password")
		}
	})
	t.Run("30 a password mends no certificate", func(t *testing.T) {
		revoked := f.authority.own(t, "press-1", nil)
		f.authority.revoke(revoked)
		for rule, certificate := range map[string]*tls.Certificate{
			ruleMaker:             newCA(t, "Stranger", nil).device(t, named("press-1"), nil),
			"certificate-revoked": revoked,
			ruleExpired:           f.authority.own(t, "press-1", func(c *x509.Certificate) { c.NotAfter = f.clock.now().Add(-time.Minute) }),
			ruleNotYetValid:       f.authority.own(t, "press-1", func(c *x509.Certificate) { c.NotBefore = f.clock.now().Add(time.Minute) }),
			ruleUnknown:           f.authority.issuing.device(t, named("press-1"), nil),
		} {
			refused(t, ask(certificate, right), 403, rule)
		}
	})
	t.Run("both are of one device", func(t *testing.T) {
		ask(maker, basic("press-1", "s3cret-one")).certificates(t)
		if got := f.authority.last(t); got.Requester.Kind != "maker" || got.Secret == [32]byte{} || got.Device != "press-1" {
			t.Errorf("request %+v", got)
		}
		refused(t, ask(maker, basic("press-2", "s3cret-two")), 403, ruleBoth)
		if last := f.authority.refused[len(f.authority.refused)-1]; last.Requester.Kind != "maker" {
			t.Errorf("record %+v", last)
		}
	})
	t.Run("a renewal is no enrollment", func(t *testing.T) {
		ask(f.authority.own(t, "press-1", nil)).certificates(t)
	})
	t.Run("the wrong password beside a good certificate is on record as the certificate's", func(t *testing.T) {
		ask(maker, basic(goodUser, "wrong"))
		last := f.authority.refused[len(f.authority.refused)-1]
		if last.Rule != ruleCredential || last.Requester.Kind != "maker" || last.Device != "press-1" {
			t.Errorf("record %+v", last)
		}
	})
	if strings.Contains(f.log.String(), "s3cret") || strings.Contains(f.log.String(), goodSecret) {
		t.Error("a secret is in the log")
	}
}

func TestMakerRules(t *testing.T) {
	standing := make(map[string]error)
	f := newFixture(t, withLabels(
		Label{Name: "acme", Passwords: goodPasswords(), Maker: &Maker{
			Device:  "serialNumber",
			Subject: map[string]*regexp.Regexp{"organization": regexp.MustCompile("Acme|Acme Plant [0-9]"), "commonName": regexp.MustCompile("(?i)model [0-9]+")},
			Revoked: func(path []*x509.Certificate, now time.Time) error {
				if len(path) < 2 || path[len(path)-1].Subject.CommonName != "Maker CA" || now.IsZero() {
					return errors.New("not a path")
				}
				return standing[serial(path[0])]
			},
		}},
	))
	device := func(organization, model string, edit func(*x509.Certificate)) *tls.Certificate {
		return f.maker.device(t, pkix.Name{SerialNumber: "SN-1", CommonName: model, Organization: []string{organization}}, edit)
	}
	ask := func(certificate *tls.Certificate, header ...string) message {
		return f.raw(t, rawRequest{method: "POST", path: "/.well-known/est/acme/simpleenroll", certificate: certificate,
			header: append([]string{typePKCS10}, header...), body: base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), "SN-1"))})
	}
	t.Run("32 the subject matches as a whole", func(t *testing.T) {
		for _, organization := range []string{"Acme", "Acme Plant 7"} {
			ask(device(organization, "MODEL 12", nil)).certificates(t)
		}
		for _, c := range [][2]string{{"Acme Plant", "Model 1"}, {"Acme Plant 77", "Model 1"}, {"Not Acme", "Model 1"}, {"Acme", "Model 1b"}, {"Acme\nAcme", "Model 1"}, {"", "Model 1"}} {
			m := ask(device(c[0], c[1], nil))
			refused(t, m, 403, ruleMakerSubject)
			if c[0] != "" && strings.Contains(string(m.body), c[0]+" ") {
				t.Errorf("%q", m.body)
			}
		}
		two := f.maker.device(t, pkix.Name{SerialNumber: "SN-1", CommonName: "Model 1", Organization: []string{"Acme", "Acme"}}, nil)
		refused(t, ask(two), 403, ruleMakerSubject)
	})
	t.Run("30 revoked by its maker, or of unknown standing", func(t *testing.T) {
		revoked, unknown := device("Acme", "Model 1", nil), device("Acme", "Model 2", nil)
		standing[serial(revoked.Leaf)] = fmt.Errorf("CRL 7: %w", ErrRevokedByMaker)
		standing[serial(unknown.Leaf)] = errors.New("CRL of 2019")
		refused(t, ask(revoked), 403, ruleMakerRevoked)
		m := ask(unknown)
		refused(t, m, 503, ruleMakerStanding)
		m.field(t, "Retry-After")
		if strings.Contains(string(m.body), "2019") || !strings.Contains(f.log.String(), "CRL of 2019") {
			t.Errorf("the cause is for the log: %q", m.body)
		}
		// It might as well have left the certificate out.
		ask(revoked, basic(goodUser, goodSecret)).certificates(t)
		if got := f.authority.last(t).Requester.Kind; got != "password" {
			t.Errorf("requester is a %s", got)
		}
	})
	t.Run("30 not a CA's certificate, nor one that must not sign", func(t *testing.T) {
		refused(t, ask(&tls.Certificate{Certificate: [][]byte{f.maker.certificate.Raw}, PrivateKey: f.maker.key, Leaf: f.maker.certificate}), 403, ruleMaker)
		between := device("Acme", "Model 1", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
		refused(t, ask(between), 403, ruleMaker)
		refused(t, ask(device("Acme", "Model 1", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })), 403, ruleMaker)
	})
}
