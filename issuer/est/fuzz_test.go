package est

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// What decodes stays the same when it is encoded again, and what does not
// decode gives nothing.
func FuzzDecodeBody(f *testing.F) {
	der := newCSR(f, newKey(f), "fuzzed")
	text := base64.StdEncoding.EncodeToString(der)
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	for _, seed := range []string{"", text, wrap(text), block, block + block, block[:40], "\r\n" + block, "====", "AA=A", "AB==", "-----BEGIN \n", " A A A A\t"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		der, err := decodeBody(bytes.Clone(body))
		if err != nil {
			if der != nil {
				t.Fatalf("%v, with %x", err, der)
			}
			return
		}
		if len(der) == 0 || len(der) > len(body) {
			t.Fatalf("%d bytes of %d", len(der), len(body))
		}
		line := base64.StdEncoding.AppendEncode(nil, der)
		for _, again := range [][]byte{line, encodeBase64(der, "libest"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})} {
			if got, err := decodeBody(again); err != nil || !bytes.Equal(got, der) {
				t.Fatalf("%q: %x, %v", again, got, err)
			}
		}
	})
}

// states are the ways in which a client may have authenticated itself.
func (f *fixture) states(t testing.TB) []*tls.Certificate {
	revoked := f.authority.own(t, "revoked", nil)
	f.authority.revoke(revoked)
	ended := f.authority.own(t, "fuzzed", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	other := f.authority.issuing.device(t, named("fuzzed"), nil)
	f.authority.remember(other.Leaf, "other", nil)
	claim := f.authority.issuing.device(t, named("WO-1"), nil)
	f.authority.remember(claim.Leaf, "claim", func(r *ledger.Certificate) { r.Purpose, r.Device, r.Order = ledger.ForClaim, "", "WO-1" })
	return []*tls.Certificate{
		nil,
		f.authority.own(t, "fuzzed", nil),
		revoked,
		f.authority.issuing.device(t, named("unknown"), nil),
		f.maker.device(t, pkix.Name{SerialNumber: "fuzzed", CommonName: "fuzzed"}, nil),
		newCA(t, "Stranger", nil).device(t, named("fuzzed"), nil),
		claim,
		f.authority.registration(t, "ra"),
		f.authority.registration(t, "ra-2"),
		ended,
		other,
		f.authority.root.device(t, named("fuzzed"), nil),
	}
}

// fuzzLabels have a rule each beside those of the fixture.
func fuzzLabels() func(*fixture, *Config) {
	return withLabels(
		Label{Name: "once", OneTime: true, Own: []string{"device"}},
		Label{Name: "both", Both: true, OneTime: true, Passwords: goodPasswords(), Own: []string{"device"}, RAs: []string{"ra"}, Maker: &Maker{Device: "commonName"}},
		Label{Name: "ra", RAs: []string{"ra"}, Own: []string{"device", "other"}, Gateway: "edge", Renewal: Renewal{Grace: 1000 * time.Hour}},
		Label{Name: "proof", Passwords: goodPasswords(), Own: []string{"device"}, ProofOfPossession: ProofRequired},
		Label{Name: "wait", Passwords: goodPasswords(), Own: []string{"device"}, Approval: true},
	)
}

// Whatever comes, in whatever state, gets an answer that keeps the rules of
// the wire; and nobody gets a certificate who may not.
func FuzzHandler(f *testing.F) {
	x := newHandler(f, fuzzLabels())
	x.authority.secrets["fuzzed"] = goodSecret
	states := x.states(f)
	der := newCSR(f, newKey(f), "fuzzed")
	text := base64.StdEncoding.EncodeToString(der)
	good := strings.TrimPrefix(basic(goodUser, goodSecret), "Authorization: ")
	for state := range states {
		for _, op := range operations {
			for _, path := range []string{"/.well-known/est/" + op, "/.well-known/est/makers/" + op, "/.well-known/est/order/" + op, "/line-a/.well-known/est/" + op,
				"/.well-known/est/once/" + op, "/.well-known/est/both/" + op, "/.well-known/est/ra/" + op, "/.well-known/est/proof/" + op, "/.well-known/est/wait/" + op} {
				f.Add(byte(state), "POST", path, mediaTypePKCS10, good, "libest", []byte(text))
				f.Add(byte(state), "POST", path, mediaTypePKCS10, strings.TrimPrefix(basic("fuzzed", goodSecret), "Authorization: "), "", []byte(text))
				f.Add(byte(state), "GET", path, "", "", "", []byte(nil))
			}
		}
	}
	f.Add(byte(0), "POST", "/.well-known/est/simpleenroll", mediaTypePKCS10, "Basic Og==", "", []byte(text))
	f.Add(byte(0), "PUT", "//..%2f", "a/b;c", "Basic =", "", []byte(nil))
	f.Add(byte(1), "GET", "cacerts", "", "", "", []byte(nil))
	f.Add(byte(0), "", "", "", "Digest x", "", bytes.Repeat([]byte("A"), maxBody+1))
	f.Fuzz(func(t *testing.T, state byte, method, path, contentType, authorization, agent string, body []byte) {
		certificate := states[int(state)%len(states)]
		connection := &tls.ConnectionState{}
		if certificate != nil {
			connection.PeerCertificates = []*x509.Certificate{certificate.Leaf}
		}
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "est.test",
			Header: http.Header{"Content-Type": {contentType}, "Authorization": {authorization}, "User-Agent": {agent}},
			Body:   io.NopCloser(bytes.NewReader(body)), RemoteAddr: "192.0.2.7:1", TLS: connection,
		}
		w := httptest.NewRecorder()
		x.handler.ServeHTTP(w, r)
		x.log.b.Reset()
		refused := x.authority.refused
		x.authority.refused, x.authority.requests = nil, nil
		// The lock would hide the password's part of the code after a while.
		x.clock.advance(attemptBurst * attemptLeak)

		if !slices.Contains([]int{200, 202, 204, 400, 401, 403, 404, 405, 413, 415, 501, 503}, w.Code) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if length := w.Header().Get("Content-Length"); w.Code != 204 && method != http.MethodHead && length != strconv.Itoa(w.Body.Len()) {
			t.Fatalf("Content-Length %s of %d", length, w.Body.Len())
		}
		if slices.Contains(slices.Collect(maps.Keys(w.Header())), "WWW-Authenticate") != (w.Code == 401) {
			t.Fatalf("status %d with header %v", w.Code, w.Header())
		}
		if len(refused) > 1 || (w.Code >= 400) != (len(refused) == 1) {
			t.Fatalf("status %d with %d refusals on record", w.Code, len(refused))
		}
		if w.Code != 200 || strings.HasSuffix(path, "cacerts") {
			return
		}
		if strings.HasSuffix(path, "csrattrs") {
			return
		}
		user, secret, basic := r.BasicAuth()
		renewal := strings.HasSuffix(path, "reenroll")
		shared, once := basic && user == goodUser && secret == goodSecret, basic && user == "fuzzed" && secret == goodSecret
		// Only where one alone is taken.
		password := (shared && !strings.Contains(path, "both") || once && strings.Contains(path, "once")) && !renewal
		at := func(names ...string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(path, n) })
		}
		switch state := int(state) % len(states); state {
		case 1: // our own
			if at("proof") {
				t.Fatal("a request that is not linked enrolled")
			}
		case 3:
			t.Fatal("a forged certificate enrolled")
		case 4: // a maker's
			both := at("both") && (shared || once)
			if renewal || !password && !at("makers") && !both {
				t.Fatalf("a maker's certificate enrolled at %s", path)
			}
		case 7: // a registration authority
			both := at("both") && (shared || once || renewal)
			if !password && !at("/ra/") && !both {
				t.Fatalf("a registration authority enrolled at %s", path)
			}
		case 9, 10: // in grace, and of another profile
			if !password && !at("/ra/") {
				t.Fatalf("state %d enrolled at %s", state, path)
			}
		default:
			if !password {
				t.Fatalf("state %d enrolled at %s", state, path)
			}
		}
	})
}

// Only the one header that says so authenticates.
func FuzzBasic(f *testing.F) {
	x := newHandler(f)
	good := strings.TrimPrefix(basic(goodUser, goodSecret), "Authorization: ")
	for _, seed := range []string{"", good, good[:len(good)-1], "basic " + good[6:], "Basic  " + good[6:], "Basic Og==", "Basic OmE=", "Digest a=\"b\"", "Basic \x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, authorization string) {
		r := httptest.NewRequest(http.MethodPost, "https://est.test/.well-known/est/simpleenroll", nil)
		r.Header["Authorization"] = []string{authorization}
		who, err := x.handler.byPassword(&exchange{r: r, label: x.handler.labels[""]})
		x.clock.advance(attemptBurst * attemptLeak)
		scheme, token, _ := strings.Cut(authorization, " ")
		right := strings.EqualFold(scheme, "Basic") && strings.NewReplacer("\r", "", "\n", "").Replace(token) == good[6:]
		if right != (err == nil) || right != (who.requester.Name == goodUser) {
			t.Fatalf("%q: %+v, %v", authorization, who, err)
		}
	})
}

// A client survives any answer.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "1", "-1", "1e9", "Sun, 22 Nov 2026 12:00:00 GMT", "+5", " 5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got := parseRetryAfter(value, (&clock{}).now()); got < 0 {
			t.Fatalf("%q: %v", value, got)
		}
	})
}
