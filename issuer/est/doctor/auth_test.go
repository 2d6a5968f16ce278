package doctor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"mintmark/internal/ledger"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// welcoming gives the password to whoever brings nothing.
func welcoming(ops ...string) func(*world, http.Handler) http.Handler {
	return before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
		for _, op := range ops {
			if isOp(r, op) && anonymous(r) {
				r.SetBasicAuth(goodUser, goodSecret)
				r.URL.Path = strings.Replace(r.URL.Path, "simplereenroll", "simpleenroll", 1)
			}
		}
		return false
	})
}

// on401 changes every 401.
func on401(fn func(*httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
	return rewritten(func(_ *http.Request, a *httptest.ResponseRecorder) {
		if a.Code == http.StatusUnauthorized {
			fn(a)
		}
	})
}

// withoutUser takes a password that nobody's name belongs to.
var withoutUser = setting{
	label: func(_ *world, l *est.Label) {
		l.Passwords = []est.Password{{SHA256: sha256.Sum256([]byte(goodSecret))}}
	},
	config: func(_ *world, c *Config) { c.User = "" },
}

// approving waits for a person, who is there.
func approving(t func(*world) func(approve, reject string)) setting {
	return setting{
		label:  func(_ *world, l *est.Label) { l.Approval = true },
		config: func(w *world, c *Config) { c.Waiting = t(w) },
	}
}

// exact is how our server spells the field: not as net/http would.
var exact = "WWW-Authenticate"

var authTests = []pointTest{
	{26, setting{}, []mutant{
		{name: "simpleenroll", handler: welcoming("simpleenroll")},
		{name: "simplereenroll", handler: welcoming("simplereenroll")},
	}},
	{27, setting{}, []mutant{{name: "left out", handler: on401(func(a *httptest.ResponseRecorder) { delete(a.Header(), "WWW-Authenticate") })}}},
	{29, withoutUser, []mutant{{name: "refused", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
		if user, _, ok := r.BasicAuth(); ok && user == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})}}},
	{30, setting{}, []mutant{
		{name: "forged", authority: holds(func(_ *world, a est.Authority, ctx context.Context, c *x509.Certificate) (ledger.Certificate, error) {
			if record, err := a.Holder(ctx, c); err == nil {
				return record, nil
			}
			return anyone(c), nil
		})},
		{name: "revoked", authority: func(w *world, a est.Authority) est.Authority {
			return changedAuthority{Authority: a, holder: func(ctx context.Context, c *x509.Certificate) (ledger.Certificate, error) {
				if c.Equal(w.revoked.Leaf) {
					return anyone(c), nil
				}
				return a.Holder(ctx, c)
			}, enroll: func(ctx context.Context, r issuer.Request) (issuer.Answer, error) {
				if r.Renews != nil && r.Renews.Equal(w.revoked.Leaf) {
					return w.forge(r.CSR)
				}
				return a.Enroll(ctx, r)
			}}
		}},
		{name: "expired", authority: holds(func(w *world, a est.Authority, ctx context.Context, c *x509.Certificate) (ledger.Certificate, error) {
			record, err := a.Holder(ctx, c)
			record.NotAfter = record.NotAfter.AddDate(10, 0, 0)
			return record, err
		})},
	}},
	{31, setting{}, []mutant{{name: "taken for an enrollment", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
		if len(r.TLS.PeerCertificates) > 0 && r.TLS.PeerCertificates[0].Issuer.CommonName == "Maker CA" {
			r.URL.Path = strings.Replace(r.URL.Path, "simplereenroll", "simpleenroll", 1)
		}
		return false
	})}}},
	{32, setting{}, []mutant{{name: "any name", authority: enrolls(trusting)}}},
	{33, setting{}, []mutant{{name: "not admitted", label: func(l *est.Label) { l.RAs = nil }}}},
	{34, setting{}, []mutant{
		{name: "says which", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
			if user, _, ok := r.BasicAuth(); ok && user != goodUser {
				w.Header()["WWW-Authenticate"] = []string{`Basic realm="x"`}
				http.Error(w, "unknown user", http.StatusUnauthorized)
				return true
			}
			return false
		})},
		{name: "403", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
			if user, _, ok := r.BasicAuth(); ok && user != goodUser {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			return false
		})},
	}},
	{87, setting{}, []mutant{{name: "Www-Authenticate", handler: on401(func(a *httptest.ResponseRecorder) {
		a.Header().Set(exact, a.Header()[exact][0])
		delete(a.Header(), exact)
	})}}},
	{88, setting{}, []mutant{{name: "Digest first", handler: on401(func(a *httptest.ResponseRecorder) {
		a.Header()[exact] = []string{`Digest realm="mintmark", algorithm=SHA-256, nonce="1"`, a.Header()[exact][0]}
	})}}},
	{89, setting{}, []mutant{
		{name: "401 with a text", handler: on401(func(a *httptest.ResponseRecorder) { a.Body.WriteString("no") })},
		{name: "202 with a text", label: func(l *est.Label) { l.Approval = true },
			handler: onStatus(202, func(a *httptest.ResponseRecorder) { a.Body.WriteString("later") })},
	}},
}

// when changes the answers to an operation.
func when(op string, fn func(*httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
	return rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
		if isOp(r, op) {
			fn(a)
		}
	})
}

// forging issues past every rule.
func forging(w *world, _ est.Authority, _ context.Context, r issuer.Request) (issuer.Answer, error) {
	return w.forge(r.CSR)
}

// forgingBroken issues past the signature of the request.
func forgingBroken(w *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
	answer, err := a.Enroll(ctx, r)
	if err != nil {
		return w.forge(r.CSR)
	}
	return answer, nil
}

func onStatus(status int, fn func(*httptest.ResponseRecorder)) func(*world, http.Handler) http.Handler {
	return rewritten(func(_ *http.Request, a *httptest.ResponseRecorder) {
		if a.Code == status {
			fn(a)
		}
	})
}

// queueing is a label where requests wait, and somebody decides.
var queueing = approving(func(w *world) func(approve, reject string) { return w.decide })

var enrollTests = []pointTest{
	{35, setting{}, []mutant{
		{name: "any type", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				r.Header.Set("Content-Type", "application/pkcs10")
			}
			return false
		})},
		{name: "one spelling", handler: refusing(func(r *http.Request) bool {
			return strings.Contains(r.Header.Get("Content-Type"), "PKCS10")
		})},
		{name: "no parameters", handler: refusing(func(r *http.Request) bool { return strings.Contains(r.Header.Get("Content-Type"), ";") })},
	}},
	{36, setting{}, []mutant{{name: "not verified", authority: enrolls(forgingBroken)}}},
	{37, setting{}, []mutant{
		{name: "no smime-type", handler: when("simpleenroll", func(a *httptest.ResponseRecorder) { a.Header().Set("Content-Type", "application/pkcs7-mime") })},
		{name: "pkix-cert", handler: when("simpleenroll", func(a *httptest.ResponseRecorder) { a.Header().Set("Content-Type", "application/pkix-cert") })},
	}},
	{38, setting{}, []mutant{{name: "with the chain", handler: func(w *world, next http.Handler) http.Handler {
		return when("simpleenroll", func(a *httptest.ResponseRecorder) {
			if list, err := certificates(a.Body.Bytes()); err == nil {
				a.Body = bytes.NewBuffer(encode(message(1, nil, raws(append(list, w.ra.Anchors("issuing")[1])))))
			}
		})(w, next)
	}}}},
	{39, setting{}, []mutant{{name: "another key", authority: enrolls(func(w *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
		answer, err := a.Enroll(ctx, r)
		answer.Certificate = w.device.Leaf
		return answer, err
	})}}},
	{40, setting{}, []mutant{
		{name: "200", handler: instead(400, 200)},
		{name: "no word", handler: onStatus(400, func(a *httptest.ResponseRecorder) { replace(a, 400, "") })},
		{name: "HTML", handler: onStatus(400, func(a *httptest.ResponseRecorder) { a.Header().Set("Content-Type", "text/html") })},
	}},
	{41, queueing, []mutant{{name: "left out", handler: onStatus(202, func(a *httptest.ResponseRecorder) { a.Header().Del("Retry-After") })}}},
	{42, queueing, []mutant{{name: "for ever", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
		if isOp(r, "simpleenroll") && a.Code == 200 {
			replace(a, 202, "")
			a.Header().Set("Retry-After", "60")
		}
	})}}},
	{43, queueing, []mutant{
		{name: "a date", handler: onStatus(202, func(a *httptest.ResponseRecorder) {
			a.Header().Set("Retry-After", "Fri, 31 Dec 2032 23:59:59 GMT")
		})},
		{name: "for ever", handler: onStatus(403, func(a *httptest.ResponseRecorder) {
			replace(a, 202, "")
			a.Header().Set("Retry-After", "60")
		})},
	}},
	{44, setting{}, []mutant{{name: "passed over", authority: enrolls(forging)}}},
}

var renewalTests = []pointTest{
	{51, setting{}, []mutant{
		{name: "a password does", handler: welcoming("simplereenroll")},
		{name: "refused", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
			if isOp(r, "simplereenroll") {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			return false
		})},
	}},
	{52, setting{}, []mutant{
		{name: "any names", authority: enrolls(trusting)},
		{name: "bytes compared", authority: enrolls(func(_ *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
			csr, err := x509.ParseCertificateRequest(r.CSR)
			if err == nil && r.Renews != nil && !bytes.Equal(csr.RawSubject, r.Renews.RawSubject) {
				return issuer.Answer{}, &issuer.Refusal{Kind: issuer.Malformed, Rule: "renewal-subject", Text: "other bytes"}
			}
			return a.Enroll(ctx, r)
		})},
		{name: "order compared", authority: enrolls(func(_ *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
			csr, err := x509.ParseCertificateRequest(r.CSR)
			if err == nil && r.Renews != nil && strings.Join(csr.DNSNames, " ") != strings.Join(r.Renews.DNSNames, " ") {
				return issuer.Answer{}, &issuer.Refusal{Kind: issuer.Malformed, Rule: "renewal-san", Text: "other order"}
			}
			return a.Enroll(ctx, r)
		})},
	}},
	{53, setting{}, []mutant{
		{name: "no re-key", authority: enrolls(func(_ *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
			csr, err := x509.ParseCertificateRequest(r.CSR)
			if err == nil && r.Renews != nil && !bytes.Equal(csr.RawSubjectPublicKeyInfo, r.Renews.RawSubjectPublicKeyInfo) {
				return issuer.Answer{}, &issuer.Refusal{Kind: issuer.Malformed, Rule: "key", Text: "another key"}
			}
			return a.Enroll(ctx, r)
		})},
		{name: "no renewal", authority: enrolls(func(_ *world, a est.Authority, ctx context.Context, r issuer.Request) (issuer.Answer, error) {
			csr, err := x509.ParseCertificateRequest(r.CSR)
			if err == nil && r.Renews != nil && bytes.Equal(csr.RawSubjectPublicKeyInfo, r.Renews.RawSubjectPublicKeyInfo) {
				return issuer.Answer{}, &issuer.Refusal{Kind: issuer.Malformed, Rule: "key", Text: "the same key"}
			}
			return a.Enroll(ctx, r)
		})},
	}},
	{54, setting{}, []mutant{{name: "passed over", authority: enrolls(forging)}}},
	{55, setting{}, []mutant{
		{name: "an alert", tls: func(w *world, c *tls.Config) {
			c.VerifyPeerCertificate = func(list [][]byte, _ [][]*x509.Certificate) error {
				if len(list) > 0 && (bytes.Equal(list[0], w.revoked.Leaf.Raw) || bytes.Equal(list[0], w.expired.Leaf.Raw)) {
					return errMutant
				}
				return nil
			}
		}},
		{name: "400", handler: instead(403, 400)},
	}},
	{56, setting{}, []mutant{{name: "revoked at once", handler: revokesOld}}},
	{92, setting{}, []mutant{{name: "chain wanted", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
		if len(r.TLS.PeerCertificates) == 1 {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})}}},
}

// revokesOld takes a certificate for a renewal once.
func revokesOld(_ *world, next http.Handler) http.Handler {
	var mu sync.Mutex
	seen := make(map[string]bool)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOp(r, "simplereenroll") && len(r.TLS.PeerCertificates) > 0 {
			mu.Lock()
			defer mu.Unlock()
			serial := r.TLS.PeerCertificates[0].SerialNumber.String()
			if seen[serial] {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			seen[serial] = true
		}
		next.ServeHTTP(w, r)
	})
}
