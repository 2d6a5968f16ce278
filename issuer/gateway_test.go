package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// edgeCA is what iotedge asks for: a CA certificate by critical basicConstraints
// and keyUsage.
func edgeCA(r *x509.CertificateRequest) {
	basic, _ := asn1.Marshal(struct {
		CA      bool
		PathLen int
	}{true, 0})
	usage, _ := asn1.Marshal(asn1.BitString{Bytes: []byte{0x84}, BitLength: 6})
	r.ExtraExtensions = []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: basic},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
	}
}

// withEdge adds the profiles of an IoT Edge label.
func withEdge(t testing.TB) func(*issuer.Config) {
	return func(c *issuer.Config) {
		for name, config := range map[string]issuer.ProfileConfig{
			"edge":    {Preset: "azure-iot-edge"},
			"edge-ca": {Preset: "azure-edge-ca"},
			// What an EST identity is called at the label of Edge CA certificates.
			"edge-est": {Preset: "azure-iot-edge", Subject: map[string]issuer.Attribute{
				"commonName": {Pattern: `aziot-edge CA (?P<device>[a-z0-9-]+)`},
			}},
			"ra": {Preset: "registration-authority"},
		} {
			c.Profiles[name] = profile(t, name, config)
		}
	}
}

// withEdgeCA creates a root and an issuing CA that has room for one below.
func withEdgeCA(t testing.TB, ra *issuer.RA) *issuer.RA {
	t.Helper()
	one := 1
	for _, spec := range []issuer.AuthoritySpec{
		{Spec: ca.Spec{Name: "edge-root", Subject: pkix.Name{CommonName: "Edge Root"}, Validity: 20 * 365 * 24 * time.Hour}, Key: ca.P256},
		{Spec: ca.Spec{Name: "edge", Subject: pkix.Name{CommonName: "Edge Issuing"}, Validity: 10 * 365 * 24 * time.Hour, PathLen: &one}, Key: ca.P256, Issuer: "edge-root"},
	} {
		if _, err := ra.CreateAuthority(t.Context(), spec, admin); err != nil {
			t.Fatal(err)
		}
	}
	return ra
}

// TestGateway lets the shape of the request choose the profile, as one label of
// IoT Edge needs it.
func TestGateway(t *testing.T) {
	l := newLedger(t)
	ra := withEdgeCA(t, withHierarchy(t, newRA(t, l, withEdge(t))))
	key := pkitest.Key(t, "RSA-2048")
	r := issuer.Request{Profile: "edge-est", Gateway: "edge-ca", Issuer: "edge", Label: "edge", Authorize: issuer.Trusted, Device: "dev-1",
		Requester: password, SecondKey: issuer.AllowSecondKey}
	name := pkix.Name{CommonName: "aziot-edge CA dev-1"}

	r.CSR = signed(t, pkitest.NewKey(t), name, nil)
	identity, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if c := identity.Certificate; c.IsCA || c.Subject.CommonName != "aziot-edge CA dev-1" {
		t.Errorf("EST identity %v, CA %v", c.Subject, c.IsCA)
	}
	r.CSR = signed(t, key, name, edgeCA)
	gateway, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		answer  issuer.Answer
		profile string
		purpose ledger.Purpose
	}{{identity, "edge-est", ledger.ForDevice}, {gateway, "edge-ca", ledger.ForGateway}} {
		record, err := l.Certificate(t.Context(), want.answer.Serial)
		if err != nil || record.Profile != want.profile || record.Purpose != want.purpose || record.Device != "dev-1" {
			t.Errorf("record %s %s %q, %v", record.Profile, record.Purpose, record.Device, err)
		}
	}
	c := gateway.Certificate
	if !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || c.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign || len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) != 0 {
		t.Errorf("CA %v, path length %d, usage %b, extended %v", c.IsCA, c.MaxPathLen, c.KeyUsage, c.ExtKeyUsage)
	}
	// A gateway certifies its modules, and nobody but OpenSSL says whether that holds.
	module := pkitest.SecondKey(t, "P-256")
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edgehub"}, DNSNames: []string{"edgehub"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}, c, module.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root := pkitest.WriteFile(t, "root.pem", pkitest.PEM("CERTIFICATE", ra.Anchors("edge")[0].Raw))
	chain := pkitest.WriteFile(t, "chain.pem", pkitest.PEM("CERTIFICATE", c.Raw, gateway.Chain[0].Raw))
	pkitest.OpenSSL(t, "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", root, "-untrusted", chain, pkitest.WriteFile(t, "leaf.pem", pkitest.PEM("CERTIFICATE", leaf)))

	// Its key signs; it authenticates nobody.
	_, err = ra.Holder(t.Context(), c)
	wantRefused(t, err, issuer.Forbidden, "certificate-purpose")
	if record, err := ra.Holder(t.Context(), identity.Certificate); err != nil || record.Device != "dev-1" {
		t.Errorf("the EST identity: %v", err)
	}
}

func TestGatewayRefusals(t *testing.T) {
	ra := withEdgeCA(t, withHierarchy(t, newRA(t, newLedger(t), withEdge(t))))
	key := pkitest.Key(t, "RSA-2048")
	name := pkix.Name{CommonName: "aziot-edge CA dev-1"}
	unreadable := func(r *x509.CertificateRequest) {
		r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0xff}}}
	}
	noCA := func(r *x509.CertificateRequest) {
		der, _ := asn1.Marshal(struct{}{})
		r.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: der}}
	}
	for _, test := range []struct {
		name   string
		change func(*issuer.Request)
		kind   issuer.Kind
		rule   string
	}{
		{"no gateways here", func(r *issuer.Request) { r.Gateway = "" }, issuer.Forbidden, "csr-ca"},
		{"no CA asked for", func(r *issuer.Request) { r.Profile, r.CSR = "edge-ca", signed(t, key, name, nil) }, issuer.Malformed, "csr-ca"},
		{"cA false", func(r *issuer.Request) { r.Profile, r.CSR = "edge-ca", signed(t, key, name, noCA) }, issuer.Malformed, "csr-ca"},
		{"unreadable basicConstraints", func(r *issuer.Request) { r.CSR = signed(t, key, name, unreadable) }, issuer.Malformed, "csr-extension"},
		{"another gateway", func(r *issuer.Request) { r.Device = "dev-2" }, issuer.Forbidden, "identity"},
		{"a device's name", func(r *issuer.Request) { r.CSR = signed(t, key, pkix.Name{CommonName: "dev-1"}, edgeCA) }, issuer.Malformed, "subject"},
		{"no device in it", func(r *issuer.Request) { r.CSR = signed(t, key, pkix.Name{CommonName: "aziot-edge CA "}, edgeCA) }, issuer.Malformed, "subject"},
		{"key made by the server", func(r *issuer.Request) { r.Generated = pkitest.SecondKey(t, "P-256").Public() }, issuer.Forbidden, "csr-ca"},
		{"an issuing CA without room", func(r *issuer.Request) { r.Issuer = "issuing" }, issuer.Malformed, "template"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := issuer.Request{Profile: "edge-est", Gateway: "edge-ca", Issuer: "edge", Authorize: issuer.Trusted, Device: "dev-1", Requester: password, CSR: signed(t, key, name, edgeCA)}
			test.change(&r)
			_, err := ra.Enroll(t.Context(), r)
			wantRefused(t, err, test.kind, test.rule)
		})
	}
	if err := ra.Usable("edge-ca", "issuing"); err == nil {
		t.Error("an issuing CA without room for gateways is usable for them")
	}
	if err := ra.Usable("edge-ca", "edge"); err != nil {
		t.Error(err)
	}
	if list := refusals(t, ra, ledger.RefusalQuery{Rule: "identity"}); len(list) != 1 || list[0].Profile != "edge-ca" || list[0].Device != "dev-1" {
		t.Errorf("on record: %+v", list)
	}
}

// fixedKeys is a key store that makes the same keys in every run.
type fixedKeys struct{ t testing.TB }

func (k fixedKeys) Create(ctx context.Context, uri, _ string) (string, crypto.Signer, error) {
	signer, err := k.Signer(ctx, uri, nil)
	return uri, signer, err
}

func (k fixedKeys) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	if strings.Contains(uri, "root") {
		return pkitest.Key(k.t, "P-384"), nil
	}
	return pkitest.SecondKey(k.t, "P-256"), nil
}

// TestGolden pins the bytes of what the presets of IoT Edge and of registration
// authorities issue, under fixed keys, serial numbers and time, and has OpenSSL
// read them.
func TestGolden(t *testing.T) {
	serial := int64(0x1000)
	ra := withEdgeCA(t, newRA(t, newLedger(t), func(c *issuer.Config) {
		withEdge(t)(c)
		c.Keys = fixedKeys{t}
		c.Now = func() time.Time { return time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC) }
		c.Serial = func(time.Time) *big.Int { serial++; return big.NewInt(serial) }
	}))
	for _, test := range []struct {
		name, profile, key string
		subject            string
		change             func(*x509.CertificateRequest)
		who                ledger.Requester
		wants              []string
		never              string
	}{
		{"azure-iot-edge", "edge", "P-256", "dev-1", nil, password, []string{"CN = dev-1", "TLS Web Client Authentication", "CA:FALSE", "Not After : Nov  1 12:00:00 2028 GMT"}, "Alternative"},
		{"azure-edge-ca", "edge-ca", "RSA-2048", "aziot-edge CA dev-1", edgeCA, password, []string{"CN = aziot-edge CA dev-1", "CA:TRUE, pathlen:0", "Digital Signature, Certificate Sign\n"}, "Extended Key Usage"},
		{"registration-authority", "ra", "P-256", "Line 7 RA", nil, admin, []string{"CN = Line 7 RA", "TLS Web Client Authentication, CMC Registration Authority", "CA:FALSE"}, "Alternative"},
	} {
		answer, err := ra.Enroll(t.Context(), issuer.Request{Profile: test.profile, Issuer: "edge", Authorize: issuer.Trusted, Requester: test.who,
			CSR: signed(t, pkitest.Key(t, test.key), pkix.Name{CommonName: test.subject}, test.change)})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		golden(t, test.name, answer.Certificate.RawTBSCertificate)
		text := pkitest.OpenSSL(t, "x509", "-noout", "-text", "-in", pkitest.WriteFile(t, "c.pem", pkitest.PEM("CERTIFICATE", answer.Certificate.Raw)))
		for _, want := range test.wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: OpenSSL does not show %q:\n%s", test.name, want, text)
			}
		}
		if strings.Contains(text, test.never) {
			t.Errorf("%s: OpenSSL shows %q:\n%s", test.name, test.never, text)
		}
	}
}

// golden compares what was to be signed with testdata/name.tbs, in hex.
func golden(t *testing.T, name string, tbs []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".tbs")
	if *update {
		var b strings.Builder
		for rest := tbs; len(rest) > 0; rest = rest[min(len(rest), 40):] {
			fmt.Fprintf(&b, "%x\n", rest[:min(len(rest), 40)])
		}
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

// TestRegistrationAuthority: an operator issues its certificate, nobody else,
// and it authenticates as what it is.
func TestRegistrationAuthority(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), withEdge(t)))
	r := issuer.Request{Profile: "ra", Issuer: "issuing", Authorize: issuer.Trusted, Requester: admin, CSR: csr(t, pkitest.NewKey(t), "Line 7")}
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if record, err := ra.Holder(t.Context(), answer.Certificate); err != nil || record.Purpose != ledger.ForRA || record.Device != "" {
		t.Errorf("record %+v, %v", record, err)
	}
	for _, kind := range []string{"password", "certificate", "ra", "maker", "cas"} {
		r.Requester = ledger.Requester{Kind: kind, Name: "x"}
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Forbidden, "purpose")
	}
}
