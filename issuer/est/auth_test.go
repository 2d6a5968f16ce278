package est

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// refused checks a refusal in plain text that names its rule.
func refused(t testing.TB, m message, status int, rule string) {
	t.Helper()
	if m.status != status || !strings.HasPrefix(string(m.body), "refused by rule "+rule+": ") {
		t.Errorf("status %d %q, want %d by rule %s", m.status, m.body, status, rule)
		return
	}
	if got := m.field(t, "Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	m.field(t, "Content-Length")
}

// challenged checks the one form of a 401.
func challenged(t testing.TB, m message) {
	t.Helper()
	if m.status != http.StatusUnauthorized || len(m.body) != 0 {
		t.Errorf("status %d, body %q", m.status, m.body)
	}
	if got := m.field(t, "WWW-Authenticate"); got != `Basic realm="factory"` {
		t.Errorf("challenge %q", got)
	}
	if got := m.field(t, "Content-Length"); got != "0" {
		t.Errorf("Content-Length %q", got)
	}
	if strings.Contains(m.header, "Content-Type") {
		t.Errorf("Content-Type of nothing in\n%s", m.header)
	}
}

func TestPasswords(t *testing.T) {
	f := newFixture(t)
	with := func(header ...string) message {
		r := enroll(t, "by-password")
		r.header = append([]string{typePKCS10}, header...)
		return f.raw(t, r)
	}
	t.Run("26 27 28 87 88 89 nothing gets the challenge", func(t *testing.T) {
		challenged(t, with())
	})
	t.Run("right", func(t *testing.T) {
		if m := with(basic(goodUser, goodSecret)); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		got := f.authority.last(t)
		if got.Requester.Kind != "password" || got.Requester.Name != goodUser || got.Requester.Address.String() != "127.0.0.1" || got.Device != "" || got.Renews != nil {
			t.Errorf("request %+v", got)
		}
		if m := with(strings.Replace(basic(goodUser, goodSecret), "Basic", "bAsIc", 1)); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
	t.Run("34 wrong in any way gets the same answer", func(t *testing.T) {
		want := with(basic(goodUser, "wrong"))
		challenged(t, want)
		for _, header := range []string{
			basic("unknown", goodSecret), basic("", ""), basic("", goodSecret), basic(goodUser, ""), basic(goodSecret, goodUser), basic(goodUser, goodSecret+"\x00"),
			"Authorization: Basic", "Authorization: Basic !!!", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("no colon")),
			"Authorization: Digest username=\"line-1\"", "Authorization: Bearer abc", "Authorization:",
		} {
			m := with(header)
			challenged(t, m)
			if drop(m.header, "Date") != drop(want.header, "Date") {
				t.Errorf("%q: headers differ:\n%s\n\n%s", header, m.header, want.header)
			}
		}
	})
	t.Run("29 empty user name", func(t *testing.T) {
		r := enroll(t, "by-pin")
		r.path, r.header = "/.well-known/est/pin/simpleenroll", []string{typePKCS10, basic("", lonelySecret)}
		if m := f.raw(t, r); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		r.header = []string{typePKCS10, basic(goodUser, goodSecret)}
		challenged(t, f.raw(t, r))
	})
	t.Run("no passwords here", func(t *testing.T) {
		for _, label := range []string{"makers", "own", "nobody"} {
			r := enroll(t, "by-password")
			r.path = "/.well-known/est/" + label + "/simpleenroll"
			refused(t, f.raw(t, r), 403, ruleNoCertificate)
		}
	})
	t.Run("51 no renewal by password", func(t *testing.T) {
		r := enroll(t, "by-password")
		r.path = "/.well-known/est/simplereenroll"
		refused(t, f.raw(t, r), 403, ruleNoCertificate)
	})
}

// drop leaves out one header line.
func drop(header, name string) string {
	var kept []string
	for _, line := range strings.Split(header, "\r\n") {
		if !strings.HasPrefix(line, name+":") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func TestLocked(t *testing.T) {
	f := newFixture(t)
	r := enroll(t, "locked")
	good := r.header[1]
	try := func(header string) message {
		r.header = []string{typePKCS10, header}
		return f.raw(t, r)
	}
	var first message
	for i := range attemptBurst {
		m := try(basic(goodUser, fmt.Sprint("wrong", i)))
		challenged(t, m)
		if i == 0 {
			first = m
		}
	}
	locked := try(good)
	challenged(t, locked)
	if drop(locked.header, "Date") != drop(first.header, "Date") {
		t.Errorf("a locked answer differs:\n%s\n\n%s", locked.header, first.header)
	}
	f.clock.advance(attemptLeak)
	if m := try(good); m.status != 200 {
		t.Errorf("status %d after the lock: %s", m.status, m.body)
	}
	if log := f.log.String(); !strings.Contains(log, "rule="+ruleAttempts) || strings.Contains(log, goodSecret) || strings.Contains(log, "wrong0") {
		t.Error("the log lacks the lock, or holds a secret")
	}
}

func TestOwnCertificates(t *testing.T) {
	f := newFixture(t)
	own := f.authority.own(t, "dev-1", nil)

	t.Run("30 55 92 authenticates leaf only", func(t *testing.T) {
		if len(own.Certificate) != 1 {
			t.Fatal("not leaf only")
		}
		if m := f.raw(t, reenroll(t, own)); m.status != 200 {
			t.Fatalf("status %d: %s", m.status, m.body)
		}
		got := f.authority.last(t)
		if got.Requester.Kind != "certificate" || got.Requester.Name != serial(own.Leaf) || got.Device != "dev-1" || !own.Leaf.Equal(got.Renews) {
			t.Errorf("request %+v", got)
		}
	})
	t.Run("32 not for another name", func(t *testing.T) {
		r := enroll(t, "dev-2")
		r.header, r.certificate = r.header[:1], own
		refused(t, f.raw(t, r), 403, "device")
	})
	t.Run("55 revoked", func(t *testing.T) {
		revoked := f.authority.own(t, "dev-3", nil)
		f.authority.revoke(revoked)
		refused(t, f.raw(t, reenroll(t, revoked)), 403, "certificate-revoked")
	})
	t.Run("55 expired and early", func(t *testing.T) {
		expired := f.authority.own(t, "dev-4", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		refused(t, f.raw(t, reenroll(t, expired)), 403, ruleExpired)
		early := f.authority.own(t, "dev-5", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
		refused(t, f.raw(t, reenroll(t, early)), 403, ruleNotYetValid)
	})
	t.Run("profile not admitted", func(t *testing.T) {
		other := f.authority.issuing.device(t, named("dev-6"), nil)
		f.authority.remember(other.Leaf, "gateway", nil)
		refused(t, f.raw(t, reenroll(t, other)), 403, ruleOwnProfile)
		f.authority.remember(other.Leaf, "device", func(r *ledger.Certificate) { r.Device = "" })
		refused(t, f.raw(t, reenroll(t, other)), 403, ruleOwnProfile)
		r := reenroll(t, own)
		r.path = "/.well-known/est/makers-cn/simplereenroll"
		refused(t, f.raw(t, r), 403, ruleOwnProfile)
	})
	t.Run("unknown to the ledger, password or not", func(t *testing.T) {
		forged := f.authority.issuing.device(t, named("dev-7"), nil)
		refused(t, f.raw(t, reenroll(t, forged)), 403, ruleUnknown)
		r := enroll(t, "dev-7")
		r.certificate = forged
		refused(t, f.raw(t, r), 403, ruleUnknown)
		if log := f.log.String(); !strings.Contains(log, serial(forged.Leaf)) || !strings.Contains(log, "rule="+ruleUnknown) {
			t.Errorf("the log does not name it:\n%s", log)
		}
	})
	t.Run("a certificate that does not count beside a password that does", func(t *testing.T) {
		revoked := f.authority.own(t, "dev-8", nil)
		f.authority.revoke(revoked)
		for _, certificate := range []*tls.Certificate{revoked, newCA(t, "Stranger", nil).device(t, named("dev-8"), nil)} {
			r := enroll(t, "dev-8")
			r.certificate = certificate
			if m := f.raw(t, r); m.status != 200 {
				t.Errorf("status %d: %s", m.status, m.body)
			}
			if got := f.authority.last(t).Requester.Kind; got != "password" {
				t.Errorf("requester is a %s", got)
			}
			r.header = []string{typePKCS10, basic(goodUser, "wrong")}
			challenged(t, f.raw(t, r))
			r.header = []string{typePKCS10}
			if m := f.raw(t, r); m.status != 403 {
				t.Errorf("status %d: %s", m.status, m.body)
			}
			// Renewals take no password.
			r.path, r.header = "/.well-known/est/simplereenroll", []string{typePKCS10, basic(goodUser, goodSecret)}
			if m := f.raw(t, r); m.status != 403 {
				t.Errorf("status %d: %s", m.status, m.body)
			}
		}
	})
	t.Run("foreign", func(t *testing.T) {
		r := reenroll(t, newCA(t, "Test Issuing CA", nil).device(t, named("dev-9"), nil))
		refused(t, f.raw(t, r), 403, ruleForeign)
	})
	t.Run("ledger out of order", func(t *testing.T) {
		defer func() { f.authority.holder = nil }()
		f.authority.holder = &issuer.Refusal{Kind: issuer.Unavailable, Rule: "ledger", Text: "try later", RetryAfter: 7 * time.Second}
		r := enroll(t, "dev-10")
		r.certificate = own
		refused(t, f.raw(t, r), 503, "ledger")
		f.authority.holder = errors.New("disk on fire")
		if m := f.raw(t, r); m.status != 500 || strings.Contains(string(m.body), "fire") {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
}

func TestMakerCertificates(t *testing.T) {
	f := newFixture(t)
	idevid := f.maker.device(t, pkix.Name{CommonName: "Model 7", SerialNumber: "SN-1"}, func(c *x509.Certificate) {
		c.ExtKeyUsage = nil
		c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280, Section 4.1.2.5
	})
	post := func(label, op, name string, certificate *tls.Certificate) message {
		r := enroll(t, name)
		r.path, r.header, r.certificate = "/.well-known/est/"+label+"/"+op, []string{typePKCS10}, certificate
		return f.raw(t, r)
	}
	t.Run("30 enrolls as the device that it names", func(t *testing.T) {
		if m := post("makers", "simpleenroll", "SN-1", idevid); m.status != 200 {
			t.Fatalf("status %d: %s", m.status, m.body)
		}
		got := f.authority.last(t)
		if got.Requester.Kind != "maker" || got.Requester.Name != serial(idevid.Leaf) || got.Device != "SN-1" || got.Renews != nil {
			t.Errorf("request %+v", got)
		}
		if m := post("makers-cn", "simpleenroll", "Model 7", idevid); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
	t.Run("32 not for another name", func(t *testing.T) {
		refused(t, post("makers", "simpleenroll", "SN-2", idevid), 403, "device")
	})
	t.Run("31 cannot renew", func(t *testing.T) {
		refused(t, post("makers", "simplereenroll", "SN-1", idevid), 403, ruleMakerRenewal)
	})
	t.Run("31 not where makers are not admitted", func(t *testing.T) {
		refused(t, post("own", "simpleenroll", "SN-1", idevid), 403, ruleForeign)
	})
	t.Run("30 not valid", func(t *testing.T) {
		subject := pkix.Name{SerialNumber: "SN-3"}
		for name, certificate := range map[string]*tls.Certificate{
			"another maker": newCA(t, "Maker CA", nil).device(t, subject, nil),
			"expired":       f.maker.device(t, subject, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			"server":        f.maker.device(t, subject, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		} {
			t.Log(name)
			refused(t, post("makers", "simpleenroll", "SN-3", certificate), 403, ruleMaker)
		}
	})
	t.Run("intermediate of the maker in the handshake", func(t *testing.T) {
		between := newCA(t, "Maker Plant 2", f.maker)
		certificate := between.device(t, pkix.Name{SerialNumber: "SN-4"}, nil)
		refused(t, post("makers", "simpleenroll", "SN-4", certificate), 403, ruleMaker)
		certificate.Certificate = append(certificate.Certificate, between.certificate.Raw)
		if m := post("makers", "simpleenroll", "SN-4", certificate); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
	t.Run("no identifier, or two", func(t *testing.T) {
		for _, subject := range []pkix.Name{{CommonName: "Model 7"}, {SerialNumber: "SN-5", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: makerAttributes["serialNumber"], Value: "SN-5"}, {Type: makerAttributes["serialNumber"], Value: "SN-6"}}}} {
			refused(t, post("makers", "simpleenroll", "SN-5", f.maker.device(t, subject, nil)), 403, ruleMakerDevice)
		}
	})
}
