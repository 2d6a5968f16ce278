package ocsp_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"mintmark/ca/revocation/ocsp"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// judged is a responder behind real HTTP, with certificates in files: one that is good,
// one that is revoked, and one that the ledger does not know.
type judged struct {
	url, root, issuing, both   string
	good, revoked, unknown     string
	otherIssuer, otherDevice   string // of another hierarchy
	goodCertificate, issuingCA *x509.Certificate
}

func newJudged(t *testing.T) *judged {
	t.Helper()
	var handler atomic.Pointer[ocsp.Responder]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	base = server.URL
	defer func() { base = defaultBase }()
	w, other, stranger := newWorld(t, "P-256", nil), newWorld(t, "P-256", nil), newWorld(t, "P-256", nil)
	handler.Store(w.responder)
	run(t, w.responder)
	write := func(name string, list ...*x509.Certificate) string {
		var ders [][]byte
		for _, c := range list {
			ders = append(ders, c.Raw)
		}
		return pkitest.WriteFile(t, name+".pem", pkitest.PEM("CERTIFICATE", ders...))
	}
	j := &judged{url: server.URL + ocsp.Path + "issuing", issuingCA: w.authority(t, "issuing"), goodCertificate: w.enroll(t, "good")}
	revoked := w.enroll(t, "revoked")
	w.revoke(t, revoked, ledger.KeyCompromise)
	root := w.authority(t, "root")
	j.root, j.issuing, j.both = write("root", root), write("issuing", j.issuingCA), write("both", root, j.issuingCA)
	j.good, j.revoked = write("good", j.goodCertificate), write("revoked", revoked)
	// Certified by the same key in another ledger.
	stranger.keys.made["memory:issuing"] = w.keys.made["memory:issuing"]
	j.unknown = write("unknown", stranger.enroll(t, "unknown"))
	j.otherIssuer, j.otherDevice = write("other", other.authority(t, "root")), write("device", other.authority(t, "issuing"))
	return j
}

// output runs a program; its exit status is the judge's verdict and no failure of the test.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), pkitest.Tool(t, name), args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}

// TestOpenSSLAsks has OpenSSL ask and judge, by POST.
func TestOpenSSLAsks(t *testing.T) {
	j := newJudged(t)
	for _, options := range [][]string{{"-no_nonce"}, {"-nonce"}, {"-sha256", "-no_nonce"}, {"-sha256", "-nonce"}} {
		for file, want := range map[string]string{j.good: ": good", j.revoked: ": revoked", j.unknown: ": unknown"} {
			args := append([]string{"ocsp", "-issuer", j.issuing, "-CAfile", j.both, "-url", j.url}, options...)
			out := output(t, "openssl", append(args, "-cert", file)...)
			if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, want) || strings.Contains(strings.ToLower(out), "nonce") {
				t.Errorf("%v: not %q:\n%s", options, want, out)
			}
			if want == ": revoked" && !strings.Contains(out, "Reason: keyCompromise") {
				t.Errorf("without its reason:\n%s", out)
			}
		}
	}
	// Several in one request are answered together.
	out := output(t, "openssl", "ocsp", "-issuer", j.issuing, "-CAfile", j.both, "-url", j.url, "-cert", j.good, "-cert", j.revoked, "-cert", j.unknown)
	for _, want := range []string{"Response verify OK", ": good", ": revoked", ": unknown"} {
		if !strings.Contains(out, want) {
			t.Errorf("several at once: not %q:\n%s", want, out)
		}
	}
	out = output(t, "openssl", "ocsp", "-issuer", j.otherIssuer, "-CAfile", j.both, "-url", j.url, "-cert", j.otherDevice)
	if !strings.Contains(out, "unauthorized (6)") {
		t.Errorf("another issuer's certificate:\n%s", out)
	}
}

// TestCurlGets fetches the answer by GET with a client that has its own mind about paths.
func TestCurlGets(t *testing.T) {
	j := newJudged(t)
	curl := pkitest.Tool(t, "curl")
	dir := t.TempDir()
	request, answer := filepath.Join(dir, "request"), filepath.Join(dir, "answer")
	pkitest.OpenSSL(t, "ocsp", "-issuer", j.issuing, "-cert", j.good, "-no_nonce", "-reqout", request)
	text := base64.StdEncoding.EncodeToString(pkitest.ReadFile(t, request))
	for name, path := range map[string]string{"escaped": url.QueryEscape(text), "as it is": text, "a slash more": "/" + text} {
		header, err := exec.CommandContext(t.Context(), curl, "-sS", "--path-as-is", "-f", "-D", "-", "-o", answer, j.url+"/"+path).CombinedOutput()
		if err != nil || !bytes.Contains(header, []byte("application/ocsp-response")) || !bytes.Contains(header, []byte("max-age=")) {
			t.Fatalf("%s: %v\n%s", name, err, header)
		}
		out := output(t, "openssl", "ocsp", "-issuer", j.issuing, "-CAfile", j.both, "-cert", j.good, "-no_nonce", "-respin", answer)
		if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, ": good") {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}

// TestGnuTLSAsks has GnuTLS ask and judge.
func TestGnuTLSAsks(t *testing.T) {
	j := newJudged(t)
	for file, want := range map[string]string{j.good: "Certificate Status: good", j.revoked: "Certificate Status: revoked", j.unknown: "Certificate Status: unknown"} {
		for _, nonce := range []string{"--nonce", "--no-nonce"} {
			out := output(t, "ocsptool", "--ask="+j.url, nonce, "--load-cert="+file, "--load-issuer="+j.issuing, "--load-trust="+j.both)
			if !strings.Contains(out, want) || !strings.Contains(out, "Verifying OCSP Response: Success") {
				t.Errorf("%s: not %q:\n%s", nonce, want, out)
			}
		}
	}
}

// TestStrongSwanVerifies has the validator of a VPN daemon ask at the address that the
// certificate names.
func TestStrongSwanVerifies(t *testing.T) {
	j := newJudged(t)
	for file, want := range map[string]string{j.good: "certificate status is good", j.revoked: "reason: key compromise"} {
		out := output(t, "pki", "--verify", "--in", file, "--cacert", j.root, "--cacert", j.issuing, "--online")
		if !strings.Contains(out, want) || !strings.Contains(out, `ocsp response correctly signed by "CN=OCSP issuing"`) {
			t.Errorf("not %q:\n%s", want, out)
		}
	}
}

// TestJavaAsks has the validator of the JDK ask at the address that the certificate names,
// and BouncyCastle by SHA-256 with a nonce.
func TestJavaAsks(t *testing.T) {
	java := pkitest.Tool(t, "java")
	jars := []string{"/usr/share/java/bcprov.jar", "/usr/share/java/bcutil.jar", "/usr/share/java/bcpkix.jar"}
	for _, jar := range jars {
		if _, err := os.Stat(jar); err != nil {
			if os.Getenv("MINTMARK_TOOLS") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	j := newJudged(t)
	cmd := exec.CommandContext(t.Context(), java, "-XX:TieredStopAtLevel=1", "-cp", strings.Join(jars, ":"), "testdata/Judge.java",
		j.root, j.issuing, j.url, j.good, j.revoked, j.unknown)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, want := range map[string]string{j.good: "good", j.revoked: "revoked", j.unknown: "unknown"} {
		for _, judge := range []string{"jdk", "bouncycastle"} {
			if line := fmt.Sprintf("%s\t%s\t%s\n", judge, file, want); !strings.Contains(string(out), line) {
				t.Errorf("not %q:\n%s", line, out)
			}
		}
	}
}
