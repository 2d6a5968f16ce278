package ceremony

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/pkitest"
)

var (
	background = context.Background()
	testNow    = time.Date(2026, 12, 1, 9, 30, 0, 0, time.UTC)
	errNoKey   = errors.New("there is no such key")
)

func TestCeremony(t *testing.T) {
	r := newRoom(t)
	keys := r.ring(t)
	cfg := r.config(t, keys)
	var out bytes.Buffer
	cfg.Out = &out
	transcript := r.hold(t, everything, cfg)
	if len(transcript.Steps) != 7 || transcript.Version != 1 || !transcript.Begun.Equal(testNow) {
		t.Errorf("the transcript is %+v", transcript)
	}
	if _, there := keys.keys["softkms:path=keys/old.pem"]; there {
		t.Error("the key that was to be destroyed is there")
	}
	if want := Groups(transcript.Steps[0].SHA256); !strings.Contains(out.String(), indent(want)) {
		t.Errorf("the fingerprint of the root is not shown:\n%s", out.String())
	}
	report := mustVerify(t, cfg.Folder, nil)
	if !strings.Contains(strings.Join(report.Words, "\n"), "nobody has vouched") {
		t.Errorf("the report does not say that the officers' keys were taken from the file: %q", report.Words)
	}
	report = mustVerify(t, cfg.Folder, r.keysOf("alice", "bob"))
	if strings.Contains(strings.Join(report.Words, "\n"), "nobody has vouched") || report.Transcript == nil {
		t.Errorf("the report is %+v", report)
	}
	for _, name := range []string{"root.pem", "line3-chain.pem", "old.crl"} {
		info, err := os.Stat(filepath.Join(cfg.Folder, "outputs", name))
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	// The identifier of the old kind is kept where the old root is cross-certified.
	out2 := func(name string) string { return filepath.Join(cfg.Folder, "outputs", name) }
	crossed, err := parseCertificates(pkitest.ReadFile(t, out2("old-with-new.pem")))
	if err != nil || !bytes.Equal(crossed[0].SubjectKeyId, r.old.Certificate().SubjectKeyId) || !bytes.Equal(crossed[0].RawSubject, r.old.Certificate().RawSubject) {
		t.Errorf("subject or key identifier of the old root is not kept: %v", err)
	}

	// A device of the new issuing CA and one of the old root, by OpenSSL: under either
	// root, by way of the cross-certificates.
	path, err := parseCertificates(pkitest.ReadFile(t, out2("line3-chain.pem")))
	if err != nil {
		t.Fatal(err)
	}
	online, err := ca.Import("line3", path, func(context.Context) (crypto.Signer, error) { return r.online, nil })
	if err != nil {
		t.Fatal(err)
	}
	device := pkitest.WriteFile(t, "device.pem", deviceOf(t, online))
	oldDevice := pkitest.WriteFile(t, "old-device.pem", deviceOf(t, r.old))
	at := fmt.Sprint(testNow.AddDate(0, 1, 0).Unix())
	verify := func(root, untrusted, leaf string, more ...string) {
		t.Helper()
		args := append([]string{"verify", "-x509_strict", "-check_ss_sig", "-attime", at, "-CAfile", root, "-untrusted", untrusted}, more...)
		pkitest.OpenSSL(t, append(args, leaf)...)
	}
	oldRootFile := filepath.Join(r.dir, "old-root.pem")
	verify(out2("root.pem"), out2("line3.pem"), device)
	both := pkitest.WriteFile(t, "both.pem", append(pkitest.ReadFile(t, out2("line3.pem")), pkitest.ReadFile(t, out2("new-with-old.pem"))...))
	verify(oldRootFile, both, device)
	verify(out2("root.pem"), out2("old-with-new.pem"), oldDevice)
	verify(out2("root.pem"), out2("line3.pem"), out2("line3.pem"), "-crl_check", "-CRLfile", out2("root.crl.pem"))
	for name, issuer := range map[string]string{"old.crl": oldRootFile, "root.crl": out2("root.pem")} {
		text := pkitest.OpenSSL(t, "crl", "-verify", "-inform", "DER", "-in", out2(name), "-noout", "-text", "-CAfile", issuer)
		if !strings.Contains(text, "verify OK") || name == "old.crl" && (!strings.Contains(text, "Serial Number: 0A5B") || !strings.Contains(text, "Superseded")) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// deviceOf issues a certificate of a device.
func deviceOf(t testing.TB, by *ca.Authority) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := by.Prepare(&x509.Certificate{
		SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: "press-1"}, NotBefore: testNow, NotAfter: testNow.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public(), ca.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	cert, err := p.Issue(background)
	if err != nil {
		t.Fatal(err)
	}
	return pkitest.PEM("CERTIFICATE", cert.Raw)
}
