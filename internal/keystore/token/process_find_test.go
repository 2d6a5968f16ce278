//go:build linux && cgo && !nopkcs11

package token

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os/exec"
	"testing"
	"time"

	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// pkcs11Tool runs OpenSC's tool on the token.
func pkcs11Tool(t *testing.T, module, label string, args ...string) {
	t.Helper()
	args = append([]string{"--module", module, "--token-label", label, "--login", "--pin", pkitest.SoftHSMPIN}, args...)
	if out, err := exec.Command(pkitest.Tool(t, "pkcs11-tool"), args...).CombinedOutput(); err != nil {
		t.Fatalf("pkcs11-tool: %v\n%s", err, out)
	}
}

// Keys that others made are found by their public key: with a public object, without
// one but with a certificate, and (RSA) with neither.
func TestProcessFindsKeysOfOthers(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	for _, tt := range []struct{ id, kind string }{{"a1", "EC:prime256v1"}, {"a2", "EC:secp384r1"}, {"a3", "rsa:2048"}} {
		pkcs11Tool(t, module, label, "--keypairgen", "--key-type", tt.kind, "--id", tt.id, "--label", "RSA or EC", "--usage-sign")
	}
	p := opened(t, module, label, 2)
	var keys []wire.Key
	for _, id := range []byte{0xa1, 0xa2, 0xa3} {
		k := found(t, p, wire.Find{ID: []byte{id}})
		again := found(t, p, wire.Find{Public: k.Public, Label: []byte("other"), ID: []byte("other")})
		if !bytes.Equal(again.ID, []byte{id}) || !bytes.Equal(again.Public, k.Public) {
			t.Errorf("found %x for %x", again.ID, id)
		}
		keys = append(keys, k)
	}

	// The public objects go; certificates of the first two keys come. An RSA private
	// key has its modulus.
	for i, id := range []string{"a1", "a2", "a3"} {
		pkcs11Tool(t, module, label, "--delete-object", "--type", "pubkey", "--id", id)
		if i < 2 {
			file := pkitest.WriteFile(t, "certificate", certificateOf(t, keys[i].Public))
			pkcs11Tool(t, module, label, "--write-object", file, "--type", "cert", "--id", id)
		}
	}
	pkcs11Tool(t, module, label, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "a4", "--label", "lost", "--usage-sign")
	pkcs11Tool(t, module, label, "--delete-object", "--type", "pubkey", "--id", "a4")
	if _, err := openPIN(t.Context(), p, openRequest(module, label, 2)); err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		for _, f := range []wire.Find{{Public: k.Public}, {ID: k.ID}} {
			again := found(t, p, f)
			if !bytes.Equal(again.ID, k.ID) || !bytes.Equal(again.Public, k.Public) {
				t.Errorf("key %x: found %x", k.ID, again.ID)
			}
			again.Label = []byte([]string{"EC", "EC", "RSA"}[i])
			if err := signsWith(p, again); err != nil {
				t.Errorf("key %x: %v", k.ID, err)
			}
		}
	}
	if _, err := p.find(t.Context(), wire.Find{ID: []byte{0xa4}}); !hasTrouble(err, wire.BadKey) {
		t.Errorf("a key whose public key nobody knows: %v", err)
	}

	// Two private keys under one id cannot be told apart.
	k := generated(t, p, "twice", "P-256")
	pkcs11Tool(t, module, label, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "7477696365", "--label", "second", "--usage-sign")
	if _, err := p.find(t.Context(), wire.Find{Public: k.Public}); !hasTrouble(err, wire.ManyKeys) {
		t.Errorf("one of two keys with the same id: %v", err)
	}
	if _, err := p.find(t.Context(), wire.Find{ID: k.ID}); !hasTrouble(err, wire.ManyKeys) {
		t.Errorf("two keys with the same id: %v", err)
	}
}

// certificateOf makes a certificate with a public key.
func certificateOf(t *testing.T, public []byte) []byte {
	t.Helper()
	parsed, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	name, err := asn1.Marshal(pkix.Name{CommonName: "k"}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: name, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1e10, 0)}
	der, err := x509.CreateCertificate(nil, template, template, parsed, pkitest.Key(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	return der
}
