package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/cms"
	"mintmark/internal/pkitest"
)

// bundle is one of two roots, with names that must not leave their comments.
func bundle(t *testing.T) (admin.AnchorBundle, []*x509.Certificate) {
	t.Helper()
	b := admin.AnchorBundle{Rotation: "r1"}
	for kind, name := range map[string]string{"old-root": "Old */ int x = 1; /* \\", "new-with-old": "New\n#error \\"} {
		key := pkitest.NewKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(der)
		b.Certificates = append(b.Certificates, admin.BundleCertificate{Kind: kind, Subject: name, SHA256: hex.EncodeToString(sum[:]), DER: der})
	}
	list, err := bundleCertificates(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, list
}

func TestBundleForms(t *testing.T) {
	b, list := bundle(t)
	form := func(name string) []byte {
		content, err := bundleContent(name, "r1", b, list)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return content
	}
	rest := form("pem")
	for _, c := range list {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || !bytes.Equal(block.Bytes, c.Raw) {
			t.Fatalf("pem lacks %v", c.Subject)
		}
	}
	if read, err := cms.ParseCertsOnly(form("p7b")); err != nil || len(read) != len(list) {
		t.Errorf("p7b: %d, %v", len(read), err)
	}
	if _, err := bundleContent("der", "r1", b, list); err == nil || !strings.Contains(err.Error(), "DER holds one") {
		t.Errorf("two certificates in DER: %v", err)
	}
	if one, err := bundleContent("der", "r1", b, list[:1]); err != nil || !bytes.Equal(one, list[0].Raw) {
		t.Errorf("der: %v", err)
	}
	header := string(form("header"))
	for i, line := range strings.Split(header, "\n") {
		if strings.HasSuffix(line, "\\") || strings.Contains(line, "#error") && !strings.HasPrefix(line, "//") {
			t.Errorf("line %d leaves its comment: %s", i+1, line)
		}
	}
	for name, broken := range map[string]func(*admin.AnchorBundle){
		"no certificate":      func(b *admin.AnchorBundle) { b.Certificates = nil },
		"another hash":        func(b *admin.AnchorBundle) { b.Certificates[0].SHA256 = strings.Repeat("0", 64) },
		"not a certificate":   func(b *admin.AnchorBundle) { b.Certificates[0].DER = []byte("x") },
		"something behind it": func(b *admin.AnchorBundle) { b.Certificates[0].DER = append(b.Certificates[0].DER, 0) },
	} {
		bad, _ := bundle(t)
		broken(&bad)
		if _, err := bundleCertificates(bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestBundleHeader has a C compiler read the header and write the arrays out again.
func TestBundleHeader(t *testing.T) {
	gcc := pkitest.Tool(t, "gcc")
	b, list := bundle(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"anchors.h": string(bundleHeader("r1", b, list)),
		"main.c": `#include "anchors.h"
#include <stdio.h>
int main(void) {
    for (size_t i = 0; i < sizeof mintmark_anchors / sizeof *mintmark_anchors; i++)
        if (fwrite(mintmark_anchors[i].der, 1, mintmark_anchors[i].length, stdout) != mintmark_anchors[i].length || putchar(mintmark_anchors[i].root) == EOF)
            return 1;
    return 0;
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "main")
	if out, err := exec.Command(gcc, "-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", program, filepath.Join(dir, "main.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i, c := range list {
		root := byte(0)
		if b.Certificates[i].Kind == "old-root" {
			root = 1
		}
		want = append(append(want, c.Raw...), root)
	}
	if !bytes.Equal(got, want) {
		t.Error("the arrays are not the certificates")
	}
}
