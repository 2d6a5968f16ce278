package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares what was to be signed with testdata/name.tbs, in hex.
func golden(t *testing.T, name string, tbs []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".tbs")
	var b strings.Builder
	for rest := tbs; len(rest) > 0; rest = rest[min(len(rest), 40):] {
		fmt.Fprintf(&b, "%x\n", rest[:min(len(rest), 40)])
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := hex.DecodeString(strings.ReplaceAll(string(want), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tbs, wanted) {
		t.Errorf("%s changed:\n got %x\nwant %x", name, tbs, wanted)
	}
}

// TestGolden pins the bytes of each kind of certificate, under a fixed key,
// serial number and time, and has OpenSSL judge them.
func TestGolden(t *testing.T) {
	root, issuing, _ := hierarchy(t, "P-256")
	golden(t, "root", root.Certificate().RawTBSCertificate)
	golden(t, "issuing", issuing.Certificate().RawTBSCertificate)

	pub := pkitest.SecondKey(t, "P-256").Public()
	p, err := issuing.Prepare(deviceTemplate(), pub, Rules{})
	device := issue(t, p, err)
	golden(t, "device", device.RawTBSCertificate)
	p, err = issuing.Prepare(serverTemplate(), pub, Rules{})
	server := issue(t, p, err)
	golden(t, "server", server.RawTBSCertificate)

	crl, err := issuing.SignCRL(background, CRL{
		Number:     big.NewInt(17),
		ThisUpdate: testNow,
		NextUpdate: testNow.AddDate(0, 0, 7),
		Entries: []x509.RevocationListEntry{
			{SerialNumber: device.SerialNumber, RevocationTime: testNow.Add(-time.Minute), ReasonCode: 1},
			{SerialNumber: big.NewInt(0x777), RevocationTime: testNow.Add(-time.Hour)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signedPart(crl)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "crl", signed)

	file := func(name string, cert *x509.Certificate) string {
		return pkitest.WriteFile(t, name, pkitest.PEM("CERTIFICATE", cert.Raw))
	}
	rootFile, issuingFile := file("root.pem", root.Certificate()), file("issuing.pem", issuing.Certificate())
	deviceFile, serverFile := file("device.pem", device), file("server.pem", server)
	verify := []string{"verify", "-x509_strict", "-check_ss_sig", "-attime", fmt.Sprint(testNow.Unix()), "-CAfile", rootFile, "-untrusted", issuingFile}
	pkitest.OpenSSL(t, append(verify, "-purpose", "sslclient", deviceFile)...)
	pkitest.OpenSSL(t, append(verify, "-purpose", "sslserver", "-verify_hostname", "est.factory.example", serverFile)...)
	pkitest.OpenSSLFails(t, append(verify, "-purpose", "sslserver", deviceFile)...)

	for name, wants := range map[string][]string{
		rootFile:    {"Signature Algorithm: ecdsa-with-SHA384", "CA:TRUE", "Certificate Sign, CRL Sign"},
		issuingFile: {"CA:TRUE, pathlen:0", "URI:http://pki.example.com/root.crl"},
		deviceFile:  {"Signature Algorithm: ecdsa-with-SHA256", "Digital Signature", "TLS Web Client Authentication", "CN = press-000142", "Not After : Nov  2 12:00:00 2031 GMT", "OCSP - URI:http://pki.example.com/ocsp"},
		serverFile:  {"DNS:est.factory.example", "IP Address:10.1.2.3", "IP Address:FD00:0:0:0:0:0:0:1", "URI:urn:mint:press:142"},
	} {
		text := pkitest.OpenSSL(t, "x509", "-in", name, "-noout", "-text")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: openssl does not show %q:\n%s", filepath.Base(name), want, text)
			}
		}
	}

	crlFile := pkitest.WriteFile(t, "devices.crl", crl)
	text := pkitest.OpenSSL(t, "crl", "-inform", "DER", "-in", crlFile, "-noout", "-text", "-CAfile", issuingFile)
	for _, want := range []string{"verify OK", "X509v3 CRL Number:", "17", "Key Compromise", "Serial Number: 0777"} {
		if !strings.Contains(text, want) {
			t.Errorf("openssl crl does not show %q:\n%s", want, text)
		}
	}
	if strings.Count(text, "CRL Reason Code") != 1 {
		t.Error("reason code 0 was not left out")
	}
	// The revoked device is refused under the CRL, the server is not.
	crlPEM := pkitest.WriteFile(t, "crl.pem", pkitest.PEM("X509 CRL", crl))
	check := append(verify, "-crl_check", "-CRLfile", crlPEM)
	if out := pkitest.OpenSSLFails(t, append(check, deviceFile)...); !strings.Contains(out, "certificate revoked") {
		t.Errorf("openssl refuses the revoked device for another reason: %s", out)
	}
	pkitest.OpenSSL(t, append(check, serverFile)...)
}
