package server

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// TestRootElsewhereAtDPS: DPS wants a proof by the key of a root, and nobody here can give that of
// a root whose key is in a safe. The plan says what to do, and so does the step.
func TestRootElsewhereAtDPS(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "")
	p.apply(t)
	x := newTurner(t, p.Server)
	const do = `name "root-2" under cas of this target in mintmark.yaml, with self_attested: true`
	spec := rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2", Elsewhere: true}
	r := x.plan(t, spec)
	if words := planWords(t, r); !strings.Contains(words, do) || strings.Contains(words, "verified by proof of possession") {
		t.Errorf("the plan of a root that a ceremony makes says\n%s", words)
	}
	x.back(t, r.ID)

	old, err := p.ra.Authority("root")
	if err != nil {
		t.Fatal(err)
	}
	key := pkitest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), RawSubject: old.Certificate().RawSubject, SubjectKeyId: []byte("of a safe"), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: old.Certificate().NotAfter.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ra.ImportAuthority(t.Context(), "root-2", []*x509.Certificate{root}, ""); err != nil {
		t.Fatal(err)
	}
	spec.Elsewhere = false
	r = x.plan(t, spec)
	if words := planWords(t, r); !strings.Contains(words, do) {
		t.Errorf("the plan of a root that was imported says\n%s", words)
	}
	r.State = string(rotation.PathsVerified)
	target := azureCloud{p.azure, "plant"}
	if _, err := target.Advance(t.Context(), r, rotation.StageRegistered); err == nil || !strings.Contains(err.Error(), do) {
		t.Errorf("the step says %v", err)
	}
	p.azure.list[0].CAs = append(p.azure.list[0].CAs, p.azure.list[0].CAs[0])
	p.azure.list[0].CAs[1].Authority, p.azure.list[0].CAs[1].SelfAttested = "root-2", true
	if _, err := target.Advance(t.Context(), r, rotation.StageRegistered); err != nil {
		t.Errorf("once the configuration says so: %v", err)
	}
}
