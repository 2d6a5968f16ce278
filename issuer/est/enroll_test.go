package est

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

func TestSimpleEnroll(t *testing.T) {
	f := newFixture(t)

	t.Run("36 proof of possession", func(t *testing.T) {
		r := enroll(t, "enrolled")
		r.body = base64.StdEncoding.EncodeToString(brokenCSR(t, "enrolled"))
		refused(t, f.raw(t, r), 400, "csr-signature")
	})
	t.Run("37 38 39 answer", func(t *testing.T) {
		key := newKey(t)
		r := enroll(t, "enrolled")
		r.body = base64.StdEncoding.EncodeToString(newCSR(t, key, "enrolled"))
		m := f.raw(t, r)
		list := m.certificates(t)
		if got := m.field(t, "Content-Type"); got != "application/pkcs7-mime; smime-type=certs-only" {
			t.Errorf("Content-Type %q", got)
		}
		if len(list) != 1 || !key.PublicKey.Equal(list[0].PublicKey) || list[0].Subject.CommonName != "enrolled" {
			t.Errorf("%d certificates", len(list))
		}
	})
	t.Run("39 RSA", func(t *testing.T) {
		key, err := rsa.GenerateKey(nil, 2048)
		if err != nil {
			t.Fatal(err)
		}
		r := enroll(t, "rsa")
		r.body = base64.StdEncoding.EncodeToString(newCSR(t, key, "rsa"))
		if list := f.raw(t, r).certificates(t); !key.PublicKey.Equal(list[0].PublicKey) {
			t.Error("another key")
		}
	})
	t.Run("40 43 refusals of the issuer", func(t *testing.T) {
		defer func() { f.authority.enrolled = nil }()
		for _, c := range []struct {
			kind   issuer.Kind
			status int
		}{
			{issuer.Malformed, 400}, {issuer.Forbidden, 403}, {issuer.Conflict, 409}, {issuer.Unavailable, 503},
		} {
			f.authority.enrolled = &issuer.Refusal{Kind: c.kind, Rule: "some-rule", Text: "because", RetryAfter: 90 * time.Second, Err: errors.New("inner secret")}
			m := f.raw(t, enroll(t, "refused"))
			refused(t, m, c.status, "some-rule")
			if !bytes.HasSuffix(m.body, []byte(": because\n")) {
				t.Errorf("body %q", m.body)
			}
			if c.status == 503 {
				seconds, err := strconv.Atoi(m.field(t, "Retry-After"))
				if err != nil || seconds < 90 || seconds > 90+23 {
					t.Errorf("Retry-After %d, %v", seconds, err)
				}
			}
		}
		if !strings.Contains(f.log.String(), "inner secret") {
			t.Error("the cause is not in the log")
		}
		f.authority.enrolled = &issuer.Refusal{Kind: issuer.Unauthenticated, Rule: "some-rule", Text: "because"}
		challenged(t, f.raw(t, enroll(t, "refused")))
		// Without a password to ask for there is no challenge, so no 401.
		r := enroll(t, "refused")
		r.path, r.certificate = "/.well-known/est/own/simpleenroll", f.authority.own(t, "refused", nil)
		refused(t, f.raw(t, r), 403, "some-rule")
	})
	t.Run("internal errors show nothing but an id", func(t *testing.T) {
		defer func() { f.authority.enrolled = nil }()
		for _, err := range []error{errors.New("token PIN 1234 rejected"), &issuer.Refusal{Kind: 99, Rule: "some-rule", Text: "token PIN 1234 rejected"}} {
			f.authority.enrolled = err
			m := f.raw(t, enroll(t, "broken"))
			id := regexp.MustCompile(`^internal error: the server's log has it as request ([0-9a-f]{16})\n$`).FindSubmatch(m.body)
			if m.status != 500 || id == nil {
				t.Fatalf("status %d: %s", m.status, m.body)
			}
			if log := f.log.String(); !strings.Contains(log, "request="+string(id[1])) || !strings.Contains(log, "PIN 1234") {
				t.Errorf("request %s is not in the log", id[1])
			}
		}
	})
	t.Run("label that issues nothing", func(t *testing.T) {
		r := enroll(t, "off")
		r.path = "/.well-known/est/off/simpleenroll"
		if m := f.raw(t, r); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		*f.disabled = "issuing CA ends in 3 days"
		m := f.raw(t, r)
		refused(t, m, 503, ruleDisabled)
		m.field(t, "Retry-After")
		if bytes.Contains(m.body, []byte("3 days")) || !strings.Contains(f.log.String(), "3 days") {
			t.Errorf("the reason is for the log: %q", m.body)
		}
		if m := f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/off/cacerts"}); m.status != 200 {
			t.Errorf("cacerts: status %d", m.status)
		}
	})
}

// Azure IoT Edge renews by simpleenroll, with a new key, the old subject and
// without the alternative names.
func TestRenewalBySimpleEnroll(t *testing.T) {
	f := newFixture(t)
	current := f.authority.own(t, "edge-1", func(c *x509.Certificate) { c.DNSNames = []string{"edge-1.local"} })
	for range 3 {
		r := enroll(t, "edge-1")
		r.certificate, r.header = current, []string{
			"content-type: application/pkcs10", "content-transfer-encoding: base64", basic("edge", "not known here"),
		}
		r.body = wrap(r.body)
		if m := f.raw(t, r); m.status != http.StatusOK {
			t.Fatalf("status %d: %s", m.status, m.body)
		}
		got := f.authority.last(t)
		if got.Requester.Kind != "certificate" || got.Device != "edge-1" || got.Renews != nil {
			t.Errorf("request %+v", got)
		}
	}
}

// wrap writes lines of 64 ended by LF.
func wrap(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		n := min(64, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

func TestSimpleReenroll(t *testing.T) {
	f := newFixture(t)
	names := []string{"b.local", "a.local"}
	own := f.authority.own(t, "renewed", func(c *x509.Certificate) { c.DNSNames = names })
	with := func(key crypto.Signer, name string, dns ...string) message {
		r := reenroll(t, own)
		r.body = base64.StdEncoding.EncodeToString(newCSR(t, key, name, dns...))
		return f.raw(t, r)
	}
	key := own.PrivateKey.(crypto.Signer)

	t.Run("52 subject and alternative names", func(t *testing.T) {
		refused(t, with(key, "other", names...), 400, "renewal-subject")
		refused(t, with(key, "renewed", "a.local"), 400, "renewal-san")
		refused(t, with(key, "renewed"), 400, "renewal-san")
		if m := with(key, "renewed", "a.local", "b.local"); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
	t.Run("53 renew and re-key", func(t *testing.T) {
		if got := with(key, "renewed", names...).certificates(t); len(got) != 1 || !own.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(got[0].PublicKey) {
			t.Error("renewal with another key")
		}
		second := newKey(t)
		if got := with(second, "renewed", names...).certificates(t); len(got) != 1 || !second.PublicKey.Equal(got[0].PublicKey) {
			t.Error("re-key without the new key")
		}
	})
	t.Run("56 the old certificate still authenticates", func(t *testing.T) {
		if m := f.raw(t, reenroll(t, own)); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		if r, _ := f.authority.Holder(t.Context(), own.Leaf); r.State != ledger.Valid {
			t.Errorf("state %s", r.State)
		}
	})
}

func TestAnswerShape(t *testing.T) {
	f := newFixture(t)
	cacerts := rawRequest{method: "GET", path: "/.well-known/est/cacerts"}
	for _, r := range []rawRequest{cacerts, enroll(t, "shaped")} {
		r.header = append(r.header, "Accept-Encoding: gzip, deflate")
		m := f.raw(t, r)

		t.Run("83 Content-Transfer-Encoding", func(t *testing.T) {
			if got := m.field(t, "Content-Transfer-Encoding"); got != "base64" {
				t.Errorf("%q", got)
			}
		})
		t.Run("84 Content-Length, not chunked, not compressed", func(t *testing.T) {
			if got := m.field(t, "Content-Length"); got != strconv.Itoa(len(m.body)) {
				t.Errorf("Content-Length %s of %d", got, len(m.body))
			}
			if strings.Contains(m.header, "Transfer-Encoding: chunked") || strings.Contains(m.header, "Content-Encoding") {
				t.Error(m.header)
			}
		})
		t.Run("85 one line, or wrapped for libest", func(t *testing.T) {
			if bytes.ContainsAny(m.body, " \t\r\n") || len(m.body)%4 != 0 {
				t.Errorf("%q", m.body)
			}
			r := r
			r.header = append(r.header, "User-Agent: libest 3.2.0p")
			w := f.raw(t, r)
			lines := strings.SplitAfter(string(w.body), "\n")
			if last := lines[len(lines)-1]; last != "" || len(lines) < 3 {
				t.Fatalf("%q", w.body)
			}
			for _, line := range lines[:len(lines)-2] {
				if len(line) != 65 {
					t.Errorf("line %q", line)
				}
			}
			if got := w.field(t, "Content-Length"); got != strconv.Itoa(len(w.body)) {
				t.Errorf("Content-Length %s of %d", got, len(w.body))
			}
			if r.path == cacerts.path && strings.ReplaceAll(string(w.body), "\n", "") != string(m.body) {
				t.Error("another message in lines")
			}
		})
	}
	t.Run("84 long answers too", func(t *testing.T) {
		for range 20 {
			f.authority.extra = append(f.authority.extra, newCA(t, strings.Repeat("long ", 10), nil).certificate)
		}
		m := f.raw(t, cacerts)
		if got := len(m.certificates(t)); got != 22 || m.field(t, "Content-Length") != strconv.Itoa(len(m.body)) {
			t.Errorf("%d certificates\n%s", got, m.header)
		}
	})
}
