package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// TestChainOfRotation connects in every state of the replacement of a root, over TLS 1.2
// and 1.3, with the old root, both and the new one, as Go, OpenSSL and GnuTLS: whoever trusts
// either is served until the old one is given up.
func TestChainOfRotation(t *testing.T) {
	openssl, gnutls := pkitest.Tool(t, "openssl"), pkitest.Tool(t, "gnutls-cli")
	server := serveLocal(t, newState(t), nil)
	w := turn(t, server.Server, ledger.RotateRoot)
	w.to(t, rotation.Certified)
	anchor := func(name string) *x509.Certificate {
		a, err := server.ra.Authority(name)
		if err != nil {
			t.Fatal(err)
		}
		return a.Certificate()
	}
	trust := map[string][]*x509.Certificate{
		"old": {anchor("root")}, "both": {anchor("root"), anchor("root2")}, "new": {anchor("root2")},
	}
	files := make(map[string]string)
	for name, list := range trust {
		files[name] = pemFile(t, name, list)
	}
	leaf := ownCertificate(t, server.dir).Leaf
	for _, state := range []struct {
		name  rotation.State
		serve map[string]bool
	}{
		{rotation.Certified, map[string]bool{"old": true, "both": true, "new": false}},
		{rotation.Distributing, map[string]bool{"old": true, "both": true, "new": true}},
		{rotation.Canaried, map[string]bool{"old": true, "both": true, "new": true}},
		{rotation.Switched, map[string]bool{"old": true, "both": true, "new": true}},
		{rotation.Draining, map[string]bool{"old": true, "both": true, "new": true}},
		{rotation.TrustRemoved, map[string]bool{"old": false, "both": true, "new": true}},
	} {
		w.to(t, state.name)
		for name, want := range state.serve {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				got := map[string]error{
					"go":      byGo(server.est, trust[name], version, leaf),
					"openssl": byOpenSSL(openssl, server.est, files[name], version),
					"gnutls":  byGnuTLS(gnutls, server.est, files[name], version),
				}
				for who, err := range got {
					if (err == nil) != want {
						t.Errorf("%s: who trusts %s, by %s over %s: %v, want served %v", state.name, name, who, tls.VersionName(version), err, want)
					}
				}
			}
		}
	}
}

// byGo reports whether Go takes the server, and that it still has the same certificate.
func byGo(address string, anchors []*x509.Certificate, version uint16, leaf *x509.Certificate) error {
	pool := x509.NewCertPool()
	for _, c := range anchors {
		pool.AddCert(c)
	}
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: version, MaxVersion: version})
	if err != nil {
		return err
	}
	defer c.Close()
	if !c.ConnectionState().PeerCertificates[0].Equal(leaf) {
		return fmt.Errorf("another certificate was issued")
	}
	return nil
}

func byOpenSSL(tool, address, anchors string, version uint16) error {
	flag := map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]
	return quiet(exec.Command(tool, "s_client", "-connect", address, "-servername", "localhost", "-verify_hostname", "localhost",
		"-no-CApath", "-no-CAstore", "-CAfile", anchors, "-verify_return_error", flag))
}

func byGnuTLS(tool, address, anchors string, version uint16) error {
	priority := map[uint16]string{tls.VersionTLS12: "NORMAL:-VERS-ALL:+VERS-TLS1.2", tls.VersionTLS13: "NORMAL:-VERS-ALL:+VERS-TLS1.3"}[version]
	host, port, _ := net.SplitHostPort(address)
	return quiet(exec.Command(tool, "--x509cafile", anchors, "--port", port, "--sni-hostname", "localhost", "--verify-hostname", "localhost",
		"--priority", priority, host))
}

// quiet runs a client that ends with its input.
func quiet(c *exec.Cmd) error {
	out, err := c.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return nil
}

func pemFile(t *testing.T, name string, list []*x509.Certificate) string {
	t.Helper()
	var b bytes.Buffer
	for _, c := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	file := filepath.Join(t.TempDir(), name+".pem")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestChainAfterRollback goes back from the switch: whoever was given the new root alone
// is served as long as what leads there is given out.
func TestChainAfterRollback(t *testing.T) {
	server := serveLocal(t, newState(t), nil)
	w := turn(t, server.Server, ledger.RotateRoot)
	w.to(t, rotation.Switched)
	w.r.Issue, w.r.Kept = ledger.IssueOld, true
	w.put(t)
	if err := server.ra.Rotations().Adopt(t.Context(), w.r); err != nil {
		t.Fatal(err)
	}
	w.enter(t, rotation.RolledBack)
	leaf := ownCertificate(t, server.dir).Leaf
	for _, name := range []string{"root", "root2"} {
		a, err := server.ra.Authority(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := byGo(server.est, []*x509.Certificate{a.Certificate()}, tls.VersionTLS13, leaf); err != nil {
			t.Errorf("who trusts %s: %v", name, err)
		}
	}
}

// TestOwnCertificateOfIssuing replaces the issuing CA: the server's own certificate is
// issued by the new one, and until then stands under the one that has issued it.
func TestOwnCertificateOfIssuing(t *testing.T) {
	server := openLocal(t, newState(t), nil)
	defer server.Close()
	own := newOwnTLS(server)
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := own.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := turn(t, server, ledger.RotateIssuing)
	w.to(t, rotation.Canaried)
	if own.replaced() {
		t.Error("the canary has it issued anew")
	}
	w.to(t, rotation.Switched)
	if !own.replaced() {
		t.Fatal("what serves now has not been noticed")
	}
	verify := func(c *tls.Certificate, issuer string) {
		t.Helper()
		by, err := server.ra.Authority(issuer)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Certificate) != 2 || !bytes.Equal(c.Certificate[1], by.Certificate().Raw) || c.Leaf.CheckSignatureFrom(by.Certificate()) != nil {
			t.Errorf("the chain of %d is not that of %s", len(c.Certificate), issuer)
		}
	}
	still, err := own.get(nil)
	if err != nil || !still.Leaf.Equal(before.Leaf) {
		t.Errorf("before it is issued anew: %v", err)
	}
	verify(still, "issuing")
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := own.get(nil)
	if err != nil || after.Leaf.Equal(before.Leaf) || own.replaced() {
		t.Errorf("not issued anew: %v", err)
	}
	verify(after, "issuing2")
	// A restart loads it and does not go back.
	restarted := newOwnTLS(server)
	if err := restarted.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := restarted.get(nil); err != nil || !c.Leaf.Equal(after.Leaf) {
		t.Errorf("a restart: %v", err)
	}
}

// TestChainOfEmergency: with the key of the old root in wrong hands nothing that the server
// shows leads from one root to the other. Until the switch who trusts the old one is served, and
// after it who trusts the new one; and what a thief signs with the old key, whoever trusts the new root
// alone takes at no time.
func TestChainOfEmergency(t *testing.T) {
	openssl, gnutls := pkitest.Tool(t, "openssl"), pkitest.Tool(t, "gnutls-cli")
	server := serveLocal(t, newState(t), nil)
	w := turn(t, server.Server, ledger.RotateRoot, func(s *rotation.Spec) { s.Emergency = true })
	w.to(t, rotation.Certified)
	old, fresh := server.rootCertificate("root"), server.rootCertificate("root2")
	trust := map[string][]*x509.Certificate{"old": {old}, "both": {old, fresh}, "new": {fresh}}
	files := make(map[string]string)
	for name, list := range trust {
		files[name] = pemFile(t, name, list)
	}
	leaf := ownCertificate(t, server.dir).Leaf
	for _, state := range []rotation.State{rotation.Certified, rotation.Distributing, rotation.Canaried, rotation.Switched, rotation.Draining, rotation.TrustRemoved} {
		w.to(t, state)
		under := "root"
		if state.From(rotation.Switched) {
			under = "root2"
		}
		if got, err := shownBy(server.est); err != nil || len(got) != 2 || !got[0].Equal(leaf) || !got[1].Equal(server.certificateUnder("issuing", under)) {
			t.Errorf("%s: it shows %d certificates, %v, and not its own and that of the issuing CA under %s", state, len(got), err, under)
		}
		for name, anchors := range trust {
			want := name == "both" || (name == "new") == state.From(rotation.Switched)
			for who, err := range map[string]error{
				"go":      byGo(server.est, anchors, tls.VersionTLS13, leaf),
				"openssl": byOpenSSL(openssl, server.est, files[name], tls.VersionTLS13),
				"gnutls":  byGnuTLS(gnutls, server.est, files[name], tls.VersionTLS13),
			} {
				if (err == nil) != want {
					t.Errorf("%s: who trusts %s, by %s: %v, want served %v", state, name, who, err, want)
				}
			}
		}
		for _, c := range server.ra.Bridges("issuing") {
			if c.CheckSignatureFrom(fresh) == nil && bytes.Equal(c.RawSubjectPublicKeyInfo, old.RawSubjectPublicKeyInfo) {
				t.Errorf("%s: the new root vouches for the stolen key until %s", state, c.NotAfter)
			}
		}
	}
}

// shownBy is what a server shows, whoever it is.
func shownBy(address string) ([]*x509.Certificate, error) {
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates, nil
}

// TestChainAfterEmergencyBack: an emergency is taken back after the switch. Who knows the new root
// alone takes this server, and who knows the old one alone, too: but for Go and GnuTLS where the old
// root allows no more CAs below it than there are, because they count the one of its own name.
func TestChainAfterEmergencyBack(t *testing.T) {
	openssl, gnutls := pkitest.Tool(t, "openssl"), pkitest.Tool(t, "gnutls-cli")
	server := serveLocal(t, newState(t), nil)
	w := turn(t, server.Server, ledger.RotateRoot, func(s *rotation.Spec) { s.Emergency = true })
	w.to(t, rotation.Switched)
	w.r.Issue, w.r.Kept, w.r.Paused = ledger.IssueOld, true, "being rolled back: a false alarm"
	w.put(t)
	if err := server.ra.Rotations().Adopt(t.Context(), w.r); err != nil {
		t.Fatal(err)
	}
	if err := server.ra.Rotations().Distribute(t.Context(), w.r); err != nil {
		t.Fatal(err)
	}
	w.r.Paused = ""
	w.enter(t, rotation.RolledBack)
	leaf := ownCertificate(t, server.dir).Leaf
	for _, name := range []string{"root", "root2"} {
		a, err := server.ra.Authority(name)
		if err != nil {
			t.Fatal(err)
		}
		trust := []*x509.Certificate{a.Certificate()}
		file := pemFile(t, name, trust)
		for who, err := range map[string]error{
			"go": byGo(server.est, trust, tls.VersionTLS13, leaf), "openssl": byOpenSSL(openssl, server.est, file, tls.VersionTLS13), "gnutls": byGnuTLS(gnutls, server.est, file, tls.VersionTLS13),
		} {
			if tight := name == "root" && who != "openssl"; (err != nil) != tight {
				t.Errorf("who trusts %s, by %s: %v", name, who, err)
			}
		}
	}
}
