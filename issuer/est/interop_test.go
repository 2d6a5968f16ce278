package est

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests run clients that we did not write. Each is skipped only where its
// program is not installed.

// folder holds the files that a client reads and writes.
type folder struct {
	t    *testing.T
	path string
}

func (d folder) file(name string) string { return filepath.Join(d.path, name) }

func (d folder) put(name, kind string, der []byte) string {
	d.t.Helper()
	if err := os.WriteFile(d.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.file(name)
}

func (d folder) putKey(name string, key crypto.PrivateKey) string {
	d.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.put(name, "PRIVATE KEY", der)
}

// certificate reads the first certificate of a file.
func (d folder) certificate(name string) *x509.Certificate {
	d.t.Helper()
	content, err := os.ReadFile(d.file(name))
	if err != nil {
		d.t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		d.t.Fatalf("%s is not PEM: %q", name, content)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		d.t.Fatal(err)
	}
	return certificate
}

// run runs a program in the folder and fails the test if it fails.
func (d folder) run(name string, args ...string) string {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), name, args...)
	cmd.Dir = d.path
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func newFolder(t *testing.T, f *fixture) folder {
	d := folder{t, t.TempDir()}
	d.put("root.pem", "CERTIFICATE", f.authority.root.certificate.Raw)
	return d
}

// The commands of docs/clients.md.
func TestCurlAndOpenSSL(t *testing.T) {
	curl, openssl := tool(t, "curl"), tool(t, "openssl")
	f := newFixture(t)
	d := newFolder(t, f)
	base := "https://" + f.address + "/.well-known/est/line-a"
	for _, version := range [][]string{
		{"--tlsv1.2", "--tls-max", "1.2", "--http1.1"}, {"--tlsv1.2", "--tls-max", "1.2"}, {"--tlsv1.3", "--http1.1"}, {"--tlsv1.3", "--http2"},
	} {
		fetch := func(args ...string) {
			t.Helper()
			d.run(curl, slices.Concat([]string{"-sS", "--fail-with-body", "--cacert", "root.pem"}, version, args)...)
		}
		fetch("-o", "cacerts.b64", base+"/cacerts")
		d.run(openssl, "base64", "-d", "-A", "-in", "cacerts.b64", "-out", "cacerts.p7")
		if out := d.run(openssl, "pkcs7", "-inform", "DER", "-in", "cacerts.p7", "-print_certs", "-noout"); strings.Count(out, "subject=") != 2 {
			t.Errorf("pkcs7: %s", out)
		}
		d.run(openssl, "cms", "-cmsout", "-noout", "-print", "-inform", "DER", "-in", "cacerts.p7")

		d.run(openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "device.key", "-subj", "/CN=curl-1", "-outform", "DER", "-out", "device.csr")
		d.run(openssl, "base64", "-in", "device.csr", "-out", "device.b64")
		fetch("-u", goodUser+":"+goodSecret, "-H", "Content-Type: application/pkcs10", "--data-binary", "@device.b64", "-o", "device.p7b64", base+"/simpleenroll")
		d.run(openssl, "base64", "-d", "-A", "-in", "device.p7b64", "-out", "device.p7")
		d.run(openssl, "pkcs7", "-inform", "DER", "-in", "device.p7", "-print_certs", "-out", "device.pem")
		if got := d.certificate("device.pem").Subject.CommonName; got != "curl-1" {
			t.Errorf("certificate for %q", got)
		}
		d.run(openssl, "pkcs7", "-inform", "DER", "-in", "cacerts.p7", "-print_certs", "-out", "cacerts.pem")
		d.run(openssl, "verify", "-CAfile", "root.pem", "-untrusted", "cacerts.pem", "device.pem")

		// With the challenge instead of the pre-emptive password, and as PEM.
		d.run(openssl, "req", "-new", "-key", "device.key", "-subj", "/CN=curl-1", "-out", "renew.csr")
		for range 5 {
			fetch("--anyauth", "-u", goodUser+":"+goodSecret, "-H", "Content-Type: application/pkcs10", "--data-binary", "@renew.csr", "-o", "again.b64", base+"/simpleenroll")
		}
		fetch("--cert", "device.pem", "--key", "device.key", "-H", "Content-Type: application/pkcs10", "--data-binary", "@renew.csr", "-o", "renewed.b64", base+"/simplereenroll")
		d.run(openssl, "base64", "-d", "-A", "-in", "renewed.b64", "-out", "renewed.p7")
		d.run(openssl, "pkcs7", "-inform", "DER", "-in", "renewed.p7", "-print_certs", "-out", "renewed.pem")
		if old, renewed := d.certificate("device.pem"), d.certificate("renewed.pem"); old.Equal(renewed) || renewed.Subject.CommonName != "curl-1" {
			t.Errorf("renewed to %v", renewed.Subject)
		}
	}
	cmd := exec.Command(curl, "-sS", "--fail-with-body", "--cacert", d.file("root.pem"), "--data-binary", "AAAA", "-u", goodUser+":"+goodSecret, base+"/simpleenroll")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "refused by rule media-type: ") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStrongSwan(t *testing.T) {
	pki := tool(t, "pki")
	if out, _ := exec.Command(pki, "--help").CombinedOutput(); !strings.Contains(string(out), "--estca") {
		t.Skip("this pki knows no EST")
	}
	f := newFixture(t)
	d := newFolder(t, f)
	for _, base := range []string{"https://" + f.address, "https://" + f.address + "/line-a"} {
		// 13 of 50 runs failed before rule 86; a few runs would have shown it.
		for range 5 {
			d.run(pki, "--estca", "--url", base, "--cacert", "root.pem", "--caout", "ca.pem", "--outform", "pem", "--force")
			if got := d.certificate("ca.pem"); !got.Equal(f.authority.root.certificate) {
				t.Errorf("root is %v", got.Subject)
			}
		}
		d.putKey("key.pem", newKey(t))
		d.run("sh", "-c", pki+" --req --type priv --in key.pem --dn 'CN=swan' --outform pem > req.pem")
		d.run("sh", "-c", pki+" --est --url "+base+" --in req.pem --cacert root.pem --cacert ca-1.pem --userpass "+goodUser+":"+goodSecret+" --outform pem > cert.pem")
		enrolled := d.certificate("cert.pem")
		if enrolled.Subject.CommonName != "swan" || f.authority.last(t).Requester.Kind != "password" {
			t.Errorf("enrolled %v", enrolled.Subject)
		}
		d.putKey("key2.pem", newKey(t))
		d.run("sh", "-c", pki+" --req --type priv --in key2.pem --dn 'CN=swan' --outform pem > req2.pem")
		d.run("sh", "-c", pki+" --est --url "+base+" --in req2.pem --cacert root.pem --cacert ca-1.pem --cert cert.pem --key key.pem --outform pem > cert2.pem")
		if renewed := d.certificate("cert2.pem"); renewed.Equal(enrolled) || !enrolled.Equal(f.authority.last(t).Renews) {
			t.Errorf("renewed %v", f.authority.last(t))
		}
	}
}

func TestBouncyCastle(t *testing.T) {
	java, javac := tool(t, "java"), tool(t, "javac")
	jars, err := filepath.Glob("/usr/share/java/bc*.jar")
	if err != nil || !slices.Contains(jars, "/usr/share/java/bcpkix.jar") {
		t.Skip("no BouncyCastle in /usr/share/java")
	}
	f := newFixture(t)
	d := newFolder(t, f)
	path := strings.Join(append(jars, d.path), ":")
	d.run(javac, "-nowarn", "-cp", path, "-d", d.path, absolute(t, "testdata/Enroll.java"))
	for _, c := range []struct{ label, version string }{{"-", "TLSv1.2"}, {"line-a", "TLSv1.3"}} {
		want := "cacerts 2\ncsrattrs false\nenroll CN=bouncy true\nreenroll CN=bouncy true\nwrong password 401\n"
		out := d.run(java, "-XX:TieredStopAtLevel=1", "-cp", path, "Enroll", f.address, c.label, "root.pem", c.version, goodUser, goodSecret)
		if out != want {
			t.Errorf("label %s, %s:\n%s", c.label, c.version, out)
		}
	}
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// IoT Edge sends both requests of one certificate in parallel and joins the
// two answers into a chain, so the enrolled certificate must stand alone.
func TestIoTEdge(t *testing.T) {
	f := newFixture(t)
	bootstrap := f.authority.own(t, "edge-7", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(24 * time.Hour) })
	header := []string{"content-type: application/pkcs10", "content-transfer-encoding: base64", basic(goodUser, goodSecret)}
	for _, certificate := range []*tls.Certificate{nil, bootstrap} {
		post := enroll(t, "edge-7")
		post.path, post.header, post.certificate, post.body = "/.well-known/est/line-a/simpleenroll", header, certificate, wrap(post.body)
		get := rawRequest{method: "GET", path: "/.well-known/est/line-a/cacerts", header: header[2:], certificate: certificate}
		answers := make(chan message, 1)
		go func() { answers <- f.raw(t, get) }()
		leaf, chain := f.raw(t, post), <-answers
		if got := leaf.field(t, "Content-Type"); !strings.HasPrefix(got, "application/pkcs7-mime;") {
			t.Errorf("Content-Type %q", got)
		}
		if got := chain.field(t, "Content-Type"); got != "application/pkcs7-mime" {
			t.Errorf("Content-Type %q", got)
		}
		if a, b := leaf.certificates(t), chain.certificates(t); len(a) != 1 || len(b) != 2 {
			t.Errorf("%d and %d certificates", len(a), len(b))
		}
	}
}
