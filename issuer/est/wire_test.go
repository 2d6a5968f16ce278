package est

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestRouting(t *testing.T) {
	f := newFixture(t)
	good := enroll(t, "routed")
	renewal := reenroll(t, f.authority.own(t, "routed", nil))

	status := func(t *testing.T, method, path string, want int) message {
		t.Helper()
		r := good
		if strings.Contains(path, "simplereenroll") {
			r = renewal
		}
		r.method, r.path = method, path
		if method == http.MethodGet {
			r.body = ""
		}
		m := f.raw(t, r)
		if m.status != want {
			t.Errorf("%s %s: status %d, want %d: %s", method, path, m.status, want, m.body)
		}
		return m
	}
	t.Run("11 without a label", func(t *testing.T) {
		status(t, "GET", "/.well-known/est/cacerts", 200)
		status(t, "POST", "/.well-known/est/simpleenroll", 200)
		status(t, "POST", "/.well-known/est/simplereenroll", 200)
	})
	t.Run("12 with a label", func(t *testing.T) {
		status(t, "GET", "/.well-known/est/line-a/cacerts", 200)
		status(t, "POST", "/.well-known/est/line-a/simpleenroll", 200)
		if got := f.authority.last(t); got.Label != "line-a" || got.Profile != "device" || got.Issuer != "issuing" {
			t.Errorf("request %+v", got)
		}
		status(t, "POST", "/.well-known/est/line-a/simplereenroll", 200)
	})
	t.Run("13 unknown label, operation, path and method", func(t *testing.T) {
		for _, path := range []string{
			"/.well-known/est/line-b/simpleenroll", "/.well-known/est/LINE-A/simpleenroll", "/.well-known/est/line-a/line-a/simpleenroll",
			"/.well-known/est/line-a/", "/.well-known/est/simpleenroll/", "/.well-known/est//simpleenroll", "/.well-known/est/line-a%2fx/simpleenroll",
			"/.well-known/est/%2e%2e/simpleenroll", "/.well-known/est/../est/simpleenroll", "/.well-known/est/enroll", "/.well-known/est", "/",
			"/line-b/.well-known/est/simpleenroll", "/line-a/line-a/.well-known/est/simpleenroll", "/line-a/.well-known/est/line-a/simpleenroll",
		} {
			status(t, "POST", path, 404)
		}
		if m := status(t, "POST", "/.well-known/est/cacerts", 405); m.field(t, "Allow") != "GET, HEAD" {
			t.Error(m.header)
		}
		if m := status(t, "GET", "/.well-known/est/line-a/simpleenroll", 405); m.field(t, "Allow") != "POST" {
			t.Error(m.header)
		}
	})
	t.Run("14 76 operations that are not implemented", func(t *testing.T) {
		for _, op := range []string{"fullcmc", "serverkeygen", "line-a/fullcmc", "line-a/serverkeygen"} {
			status(t, "POST", "/.well-known/est/"+op, 501)
		}
	})
	t.Run("69 70 96 csrattrs has nothing to announce", func(t *testing.T) {
		m := f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/csrattrs"})
		if m.status != 204 || len(m.body) != 0 {
			t.Errorf("status %d, body %q", m.status, m.body)
		}
		status(t, "GET", "/.well-known/est/line-b/csrattrs", 404)
	})
	t.Run("97 label in front", func(t *testing.T) {
		status(t, "GET", "/line-a/.well-known/est/cacerts", 200)
		status(t, "POST", "/line-a/.well-known/est/simpleenroll", 200)
		if got := f.authority.last(t).Label; got != "line-a" {
			t.Errorf("label %q", got)
		}
		status(t, "POST", "/line-a/.well-known/est/simplereenroll", 200)
	})
}

func TestRequestEncoding(t *testing.T) {
	f := newFixture(t)
	der := newCSR(t, newKey(t), "encoded")
	text := base64.StdEncoding.EncodeToString(der)
	post := func(t *testing.T, body string, want int, header ...string) message {
		t.Helper()
		r := enroll(t, "encoded")
		r.body, r.header = body, append(r.header, header...)
		m := f.raw(t, r)
		if m.status != want {
			t.Errorf("status %d, want %d: %s", m.status, want, m.body)
		}
		return m
	}
	t.Run("15 whatever Content-Transfer-Encoding says", func(t *testing.T) {
		for _, encoding := range []string{"base64", "binary", "7bit", "quoted-printable", "BASE64"} {
			post(t, text, 200, "Content-Transfer-Encoding: "+encoding)
		}
		post(t, text, 200)
	})
	t.Run("16 white space anywhere", func(t *testing.T) {
		for _, gap := range []string{"\r\n", "\n", " ", "\t", "\r", " \t\r\n"} {
			var b strings.Builder
			for i, c := range text {
				if i%7 == 0 {
					b.WriteString(gap)
				}
				b.WriteRune(c)
			}
			post(t, b.String()+gap, 200)
		}
	})
	t.Run("19 98 what is not a request", func(t *testing.T) {
		short := base64.StdEncoding.EncodeToString(der[:len(der)-3])
		long := base64.StdEncoding.EncodeToString(append(bytes.Clone(der), 0))
		for name, body := range map[string]string{
			"empty": "", "space": " \r\n", "not base64": "%%%%", "raw DER": string(der), "trailing": text + "!", "two": text + text,
			"unpadded": strings.TrimRight(text, "=") + "A", "truncated DER": short, "garbage after DER": long, "not DER": "AAAA", "zeros": "AA\x00A",
		} {
			m := post(t, body, 400)
			if !strings.Contains(string(m.body), "refused by rule ") {
				t.Errorf("%s: %q", name, m.body)
			}
		}
		if m := post(t, strings.Repeat("A", maxBody+1), 413); !strings.Contains(string(m.body), "rule size") {
			t.Errorf("%q", m.body)
		}
		post(t, strings.Repeat("\n", maxBody), 400)
	})
	t.Run("91 PEM", func(t *testing.T) {
		for _, kind := range []string{"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"} {
			block := string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
			post(t, block, 200)
			post(t, "\r\n"+strings.ReplaceAll(block, "\n", "\r\n")+"\r\n", 200)
			post(t, block+"x", 400)
			post(t, block+block, 400)
		}
		post(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 400)
		post(t, "-----BEGIN CERTIFICATE REQUEST-----\n"+text, 400)
	})
	t.Run("35 Content-Type", func(t *testing.T) {
		for value, want := range map[string]int{
			"application/pkcs10": 200, "Application/PKCS10": 200, "application/pkcs10; charset=utf-8": 200, "application/pkcs10;": 200,
			"application/pkcs10 ; x=\"": 200, "application/pkcs7-mime": 415, "text/plain": 415, "application/pkcs10x": 415, "": 415,
		} {
			r := enroll(t, "typed")
			r.header = []string{r.header[1]}
			if value != "" {
				r.header = append(r.header, "Content-Type: "+value)
			}
			if m := f.raw(t, r); m.status != want {
				t.Errorf("%q: status %d, want %d: %s", value, m.status, want, m.body)
			}
		}
	})
}

func TestCACerts(t *testing.T) {
	f := newFixture(t)
	get := rawRequest{method: "GET", path: "/.well-known/est/cacerts"}
	m := f.raw(t, get)

	t.Run("20 no authentication, and none looked at", func(t *testing.T) {
		r := get
		r.certificate = newCA(t, "Stranger", nil).device(t, named("stranger"), nil)
		r.header = []string{basic("nobody", "wrong")}
		if m := f.raw(t, r); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
	})
	t.Run("21 90 status and type", func(t *testing.T) {
		if m.status != 200 || m.field(t, "Content-Type") != "application/pkcs7-mime" {
			t.Errorf("status %d\n%s", m.status, m.header)
		}
	})
	t.Run("17 18 22 DER certs-only", func(t *testing.T) {
		der, err := base64.StdEncoding.DecodeString(string(m.body))
		if err != nil {
			t.Fatal(err)
		}
		out, err := run(der, tool(t, "openssl"), "asn1parse", "-inform", "DER")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if strings.Contains(out, "cont [ 1 ]") || strings.Contains(out, "inf") {
			t.Errorf("crls or indefinite lengths:\n%s", out)
		}
		// What Go's encoder makes of the same values is the same.
		var info asn1.RawValue
		if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
			t.Errorf("%v, %d bytes left", err, len(rest))
		}
		first, second := bytes.Index(der, f.authority.root.certificate.Raw), bytes.Index(der, f.authority.issuing.certificate.Raw)
		ascending := bytes.Compare(f.authority.root.certificate.Raw, f.authority.issuing.certificate.Raw) < 0
		if (first < second) != ascending {
			t.Error("the CertificateSet is not sorted")
		}
	})
	t.Run("23 root and intermediate", func(t *testing.T) {
		list := m.certificates(t)
		if len(list) != 2 {
			t.Fatalf("%d certificates", len(list))
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		for _, c := range list {
			if c.CheckSignatureFrom(c) == nil {
				roots.AddCert(c)
			} else {
				between.AddCert(c)
			}
		}
		leaf := f.raw(t, enroll(t, "chained")).certificates(t)[0]
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Error(err)
		}
	})
	t.Run("24 25 95 rollover certificates while there are some", func(t *testing.T) {
		next := newCA(t, "Next Root", nil)
		f.authority.extra = []*x509.Certificate{next.certificate}
		if got := len(f.raw(t, get).certificates(t)); got != 3 {
			t.Errorf("%d certificates during the rollover", got)
		}
		f.authority.extra = nil
		if got := len(f.raw(t, get).certificates(t)); got != 2 {
			t.Errorf("%d certificates after it", got)
		}
	})
	t.Run("no certificate yet", func(t *testing.T) {
		r := get
		r.path = "/.well-known/est/new/cacerts"
		if m := f.raw(t, r); m.status != 503 {
			t.Errorf("status %d", m.status)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		r := get
		r.method = "HEAD"
		if h := f.raw(t, r); h.status != 200 || len(h.body) != 0 || h.field(t, "Content-Length") != strconv.Itoa(len(m.body)) {
			t.Errorf("status %d, %d bytes\n%s", h.status, len(h.body), h.header)
		}
	})
}

// run gives a program its standard input and returns its output.
func run(input []byte, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
