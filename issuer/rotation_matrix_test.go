package issuer_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// verifier judges whether who trusts the anchors takes a path, the end entity first.
type verifier struct {
	name  string
	takes func(t *testing.T, path, anchors []*x509.Certificate, usage x509.ExtKeyUsage) bool
}

// verifiers are Go, our own strict rules, OpenSSL and GnuTLS. An anchor need be no root, as the
// CAs that AWS IoT knows are not.
func verifiers(t *testing.T) []verifier {
	openssl, certtool := pkitest.Tool(t, "openssl"), pkitest.Tool(t, "certtool")
	file := func(t *testing.T, list []*x509.Certificate) string { return pemFile(t, "certificates.pem", list...) }
	return []verifier{
		{"Go", func(t *testing.T, path, anchors []*x509.Certificate, usage x509.ExtKeyUsage) bool {
			o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
			for _, c := range anchors {
				o.Roots.AddCert(c)
			}
			for _, c := range path[1:] {
				o.Intermediates.AddCert(c)
			}
			_, err := path[0].Verify(o)
			return err == nil
		}},
		{"mintmark", func(t *testing.T, path, anchors []*x509.Certificate, _ x509.ExtKeyUsage) bool {
			return ca.VerifyPath(path[0], path[1:], anchors, time.Now()) == nil
		}},
		{"OpenSSL", func(t *testing.T, path, anchors []*x509.Certificate, usage x509.ExtKeyUsage) bool {
			purpose := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "sslserver", x509.ExtKeyUsageClientAuth: "sslclient"}[usage]
			args := []string{"verify", "-x509_strict", "-purpose", purpose, "-no-CApath", "-no-CAstore", "-partial_chain", "-CAfile", file(t, anchors)}
			if len(path) > 1 {
				args = append(args, "-untrusted", file(t, path[1:]))
			}
			return verdict(t, openssl, append(args, file(t, path[:1]))...)
		}},
		{"GnuTLS", func(t *testing.T, path, anchors []*x509.Certificate, usage x509.ExtKeyUsage) bool {
			purpose := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "1.3.6.1.5.5.7.3.1", x509.ExtKeyUsageClientAuth: "1.3.6.1.5.5.7.3.2"}[usage]
			return verdict(t, certtool, "--verify", "--verify-purpose", purpose, "--load-ca-certificate", file(t, anchors), "--infile", file(t, path))
		}},
	}
}

// verdict runs a program that says by its exit status whether a certificate is good. One that could
// not judge is no judge.
func verdict(t *testing.T, program string, args ...string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	text := string(out)
	good := strings.Contains(text, ": OK") || strings.Contains(text, "Chain verification output: Verified")
	bad := strings.Contains(text, "verification failed") || strings.Contains(text, "Chain verification output: Not verified")
	if good == bad || good != (err == nil) {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(program), args, err, text)
	}
	return good
}

// TestPathMatrix: who trusts the old root, both, or the new one, is shown a certificate in every
// way in which a rotation shows it, and takes it where it should. The clouds are those who are shown the
// path of a device: DPS knows roots, and AWS IoT the certificates of issuing CAs. Where an old root has
// no room for it, some verifiers do not take the new path by way of the old root, and the server shows
// the old one.
func TestPathMatrix(t *testing.T) {
	judges := verifiers(t)
	for _, c := range []struct {
		name, key, commonName string
		pathLen               *int
	}{
		{"EC roots of one name, no room below", "P-256", "", new(1)},
		{"EC roots of one name", "P-256", "", new(2)},
		{"EC roots of two names", "P-256", "Matrix Root 2", nil},
		{"RSA roots of one name, no room below", "RSA-2048", "", new(1)},
		{"RSA roots of two names", "RSA-2048", "Matrix Root 2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(t)
			ra := newRA(t, l, nil)
			root := rootSpec("root", "Matrix Root", 20, c.pathLen)
			root.Key = ca.Algorithm(c.key)
			create(t, ra, root)
			issuing := issuingUnder("root", "issuing")
			issuing.Key = root.Key
			create(t, ra, issuing)
			device := mustEnroll(t, ra, pkitest.NewKey(t), "device-1").Certificate
			answer, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "server", Issuer: "issuing", Requester: admin,
				CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "est.example"}, "est.example")})
			if err != nil {
				t.Fatal(err)
			}
			server := answer.Certificate
			x := rotate(t, ra, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-b", CommonName: c.commonName})
			x.to(t, rotation.Distributing)
			bridges := ra.Bridges("issuing")
			a, b, oldWithNew, newWithOld := bridges[0], bridges[1], bridges[2], bridges[3]
			under, over := ra.PathUnder("issuing", "root")[1], ra.PathUnder("issuing", "root-b")[1]
			same := slices.Equal(a.RawSubject, b.RawSubject)
			if same != (c.commonName == "") {
				t.Fatalf("the roots are %q and %q", a.Subject, b.Subject)
			}

			type store struct {
				name    string
				anchors []*x509.Certificate
			}
			roots := []store{{"A", []*x509.Certificate{a}}, {"both", []*x509.Certificate{a, b}}, {"B", []*x509.Certificate{b}}}
			registered := []store{{"I@A", []*x509.Certificate{under}}, {"both", []*x509.Certificate{under, over}}, {"I@B", []*x509.Certificate{over}}}
			x.to(t, rotation.Switched)
			path := ra.ServerPath("issuing")
			after := []*x509.Certificate{server, path[1], newWithOld}
			if path[0].Equal(a) {
				after[2] = oldWithNew
			}
			// RFC 5280, Section 6.1.4 (l), does not count certificates of which issuer and subject
			// are one name. Some verifiers do.
			tight := same && c.pathLen != nil && *c.pathLen == 1
			counts := []string{"Go", "GnuTLS"}
			var table strings.Builder
			fmt.Fprintf(&table, "%-20s %-26s %-6s", "who asks", "is shown", "trusts")
			for _, j := range judges {
				fmt.Fprintf(&table, " %-9s", j.name)
			}
			table.WriteString("\n")
			for _, row := range []struct {
				who, shown string
				path       []*x509.Certificate
				stores     []store
				usage      x509.ExtKeyUsage
				good       string // for each store
			}{
				{"relying party, DPS", "old path", []*x509.Certificate{device, under}, roots, x509.ExtKeyUsageClientAuth, "++-"},
				{"relying party, DPS", "new path", []*x509.Certificate{device, over}, roots, x509.ExtKeyUsageClientAuth, "-++"},
				{"relying party, DPS", "old path, A by B", []*x509.Certificate{device, under, oldWithNew}, roots, x509.ExtKeyUsageClientAuth, "+++"},
				{"relying party, DPS", "new path, B by A", []*x509.Certificate{device, over, newWithOld}, roots, x509.ExtKeyUsageClientAuth, "+++"},
				{"relying party, DPS", "no path", []*x509.Certificate{device}, roots, x509.ExtKeyUsageClientAuth, "---"},
				{"device, EST server", "old path", []*x509.Certificate{server, under}, roots, x509.ExtKeyUsageServerAuth, "++-"},
				{"device, EST server", "new path", []*x509.Certificate{server, over}, roots, x509.ExtKeyUsageServerAuth, "-++"},
				{"device, EST server", "old path, A by B", []*x509.Certificate{server, under, oldWithNew}, roots, x509.ExtKeyUsageServerAuth, "+++"},
				{"device, EST server", "new path, B by A", []*x509.Certificate{server, over, newWithOld}, roots, x509.ExtKeyUsageServerAuth, "+++"},
				{"device, EST server", "as shown after the switch", after, roots, x509.ExtKeyUsageServerAuth, "+++"},
				{"AWS IoT", "certificate alone", []*x509.Certificate{device}, registered, x509.ExtKeyUsageClientAuth, "+++"},
				{"AWS IoT", "old path", []*x509.Certificate{device, under}, registered, x509.ExtKeyUsageClientAuth, "+++"},
				{"AWS IoT", "new path", []*x509.Certificate{device, over}, registered, x509.ExtKeyUsageClientAuth, "+++"},
			} {
				for i, s := range row.stores {
					fmt.Fprintf(&table, "%-20s %-26s %-6s", row.who, row.shown, s.name)
					for _, j := range judges {
						takes := j.takes(t, row.path, s.anchors, row.usage)
						word := map[bool]string{true: "takes", false: "refuses"}[takes]
						want := row.good[i] == '+'
						if tight && row.shown == "new path, B by A" && s.name == "A" && slices.Contains(counts, j.name) {
							want = false
						}
						if takes != want {
							t.Errorf("%s, shown %s, trusting %s: %s %s it", row.who, row.shown, s.name, j.name, word)
							word += " (!)"
						}
						fmt.Fprintf(&table, " %-9s", word)
					}
					table.WriteString("\n")
				}
			}
			t.Logf("\n%s", table.String())
		})
	}
}

// TestOldKeyIdentifier: of CAs that were made with key identifiers by SHA-1, as everybody made them,
// what stands for them has the same; one that is computed anew, as crypto/x509 does, is refused
// by OpenSSL while Go takes it.
func TestOldKeyIdentifier(t *testing.T) {
	dir := t.TempDir()
	pkitest.OpenSSL(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", dir+"/root.key", "-out", dir+"/root.pem",
		"-subj", "/O=Mint Works/CN=Old Root", "-days", "3650", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:2", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	pkitest.OpenSSL(t, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", dir+"/issuing.key", "-out", dir+"/issuing.csr", "-subj", "/O=Mint Works/CN=Old Issuing")
	extensions := pkitest.WriteFile(t, "ext.cnf", []byte("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"))
	pkitest.OpenSSL(t, "x509", "-req", "-in", dir+"/issuing.csr", "-CA", dir+"/root.pem", "-CAkey", dir+"/root.key", "-set_serial", "0x1234567890abcdef12", "-days", "3000", "-extfile", extensions, "-out", dir+"/issuing.pem")

	store := newKeys(t).(*keys)
	ra := newRA(t, newLedger(t), func(c *issuer.Config) { c.Keys = store })
	var path []*x509.Certificate
	for _, name := range []string{"root", "issuing"} {
		path = append(path, parse(t, pkitest.ReadFile(t, dir+"/"+name+".pem")))
		store.made["softkms:"+name] = privateKey(t, dir+"/"+name+".key")
		if _, err := ra.ImportAuthority(t.Context(), name, path, "softkms:"+name); err != nil {
			t.Fatal(err)
		}
	}
	device := mustEnroll(t, ra, pkitest.NewKey(t), "device-1").Certificate
	x := rotate(t, ra, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-b"})
	x.to(t, rotation.Distributing)
	bridges := ra.Bridges("issuing")
	a, b, oldWithNew, newWithOld := bridges[0], bridges[1], bridges[2], bridges[3]
	twin := ra.PathUnder("issuing", "root-b")[1]
	for name, c := range map[string][2]*x509.Certificate{"twin": {twin, path[1]}, "bridge": {oldWithNew, path[0]}} {
		if !slices.Equal(c[0].SubjectKeyId, c[1].SubjectKeyId) || !slices.Equal(c[0].RawSubject, c[1].RawSubject) {
			t.Errorf("the %s has the key identifier %x, not %x", name, c[0].SubjectKeyId, c[1].SubjectKeyId)
		}
	}
	// The same certificate, with the key identifier left to crypto/x509.
	signer, err := store.Signer(t.Context(), "softkms:path=keys/root-b.pem", nil)
	if err != nil {
		t.Fatal(err)
	}
	naive := computed(t, twin, b, signer)
	if slices.Equal(naive.SubjectKeyId, twin.SubjectKeyId) {
		t.Fatal("crypto/x509 computes the key identifier by SHA-1 again")
	}
	for _, c := range []struct {
		name    string
		path    []*x509.Certificate
		anchor  *x509.Certificate
		refuses []string
	}{
		{"twin", []*x509.Certificate{device, twin}, b, nil},
		{"bridge to the new root", []*x509.Certificate{device, path[1], oldWithNew}, b, nil},
		{"bridge to the old root", []*x509.Certificate{device, twin, newWithOld}, a, nil}, // which has room
		{"computed anew", []*x509.Certificate{device, naive}, b, []string{"OpenSSL", "mintmark"}},
	} {
		for _, j := range verifiers(t) {
			if j.name == "GnuTLS" && c.refuses != nil {
				continue // versions differ
			}
			if takes := j.takes(t, c.path, []*x509.Certificate{c.anchor}, x509.ExtKeyUsageClientAuth); takes == slices.Contains(c.refuses, j.name) {
				t.Errorf("%s: %s takes it: %v", c.name, j.name, takes)
			}
		}
	}
}

// computed is a certificate anew, whose key identifier crypto/x509 computes.
func computed(t testing.TB, of, by *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: issuer.NewSerial(time.Now()), RawSubject: of.RawSubject, NotBefore: of.NotBefore, NotAfter: of.NotAfter,
		KeyUsage: of.KeyUsage, IsCA: true, BasicConstraintsValid: true, MaxPathLen: of.MaxPathLen, MaxPathLenZero: of.MaxPathLenZero,
	}
	der, err := x509.CreateCertificate(nil, template, by, of.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return parseDER(t, der)
}

// privateKey reads a PKCS #8 key that openssl has made.
func privateKey(t testing.TB, name string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(pkitest.ReadFile(t, name))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer)
}
