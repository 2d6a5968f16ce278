package server

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// TestClientsOfRotation has clients that we did not write ask for the anchors while a root
// is replaced, who trust the old one, and then the new one.
func TestClientsOfRotation(t *testing.T) {
	pki, openssl, curl := pkitest.Tool(t, "pki"), pkitest.Tool(t, "openssl"), pkitest.Tool(t, "curl")
	dir := newState(t)
	editConfig(t, dir, "labels:\n", flavoured)
	server := serveLocal(t, dir, nil)
	device := issue(t, server.Server, "device", "device-1")
	w := turn(t, server.Server, ledger.RotateRoot)
	w.to(t, rotation.Certified)
	file := func(name, authority string) string {
		return pemFile(t, name, server.ra.Anchors(authority))
	}
	trusts := map[string]string{"old": file("old", "root"), "new": file("new", "root2")}
	leaf := filepath.Join(t.TempDir(), "device.pem")
	if err := os.WriteFile(leaf, pkitest.PEM("CERTIFICATE", device.Leaf.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(server.est, ":")
	for _, state := range []rotation.State{rotation.Distributing, rotation.Draining} {
		w.to(t, state)
		for label, roots := range map[string]int{"": 2, "as-both": 2, "as-new": 1, "as-old": 1} {
			for trust, anchors := range trusts {
				out := t.TempDir()
				url := "https://localhost:" + port + "/" + label
				c := exec.Command(pki, "--estca", "--url", strings.TrimSuffix(url, "/"), "--cacert", anchors, "--caout", filepath.Join(out, "ca.pem"), "--outform", "pem", "--force")
				if text, err := c.CombinedOutput(); err != nil {
					t.Errorf("strongSwan, %s, label %q, trusting %s: %v\n%s", state, label, trust, err, text)
				}

				// As a device without an EST library: curl, then openssl takes it apart and builds
				// the path of the device's certificate with what came.
				at := "https://localhost:" + port + "/.well-known/est/" + strings.TrimPrefix(label+"/cacerts", "/")
				body, err := exec.Command(curl, "-sS", "--fail-with-body", "--cacert", anchors, at).Output()
				if err != nil {
					t.Errorf("curl, %s, label %q, trusting %s: %v", state, label, trust, err)
					continue
				}
				decode := exec.Command("sh", "-c", `"$0" base64 -d -A | "$0" pkcs7 -inform DER -print_certs`, openssl)
				decode.Stdin = bytes.NewReader(body)
				bundle, err := decode.Output()
				if err != nil {
					t.Errorf("openssl pkcs7: %v", err)
					continue
				}
				got := filepath.Join(out, "bundle.pem")
				if err := os.WriteFile(got, bundle, 0o600); err != nil {
					t.Fatal(err)
				}
				// Roots belong into the trust store: of two CAs of one name, OpenSSL 3.0 follows the
				// self-signed one among the others, and fails.
				others := pemFile(t, "others", notRoots(t, bundle))
				for name, own := range trusts {
					// Whoever has the flavour for one root need not be able to check with the other.
					want := roots == 2 && label == "" || label == "as-"+name || label == "as-both" && (name == "old") == (state == rotation.Distributing)
					text, err := exec.Command(openssl, "verify", "-no-CApath", "-no-CAstore", "-CAfile", own, "-untrusted", others, leaf).CombinedOutput()
					if (err == nil) != want {
						t.Errorf("openssl, %s, label %q, trusting %s: %v, want %v\n%s", state, label, name, err, want, text)
					}
				}
				if text, err := exec.Command(openssl, "verify", "-no-CApath", "-no-CAstore", "-CAfile", got, leaf).CombinedOutput(); err != nil {
					t.Errorf("openssl, %s, label %q, trusting what came: %v\n%s", state, label, err, text)
				}
			}
		}
	}
}

// notRoots are the certificates of a bundle that have not signed themselves.
func notRoots(t *testing.T, bundle []byte) (list []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if c.CheckSignatureFrom(c) != nil {
			list = append(list, c)
		}
	}
	return list
}
