package casfront_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/cas/apiv1"
	"go.step.sm/crypto/jose"

	"mintmark/ca"
	"mintmark/internal/audit"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/casfront"
)

// setup is a smallstep authority with a JWK provisioner over our cycle.
type setup struct {
	ledger    ledger.Ledger
	ra        *issuer.RA
	front     *casfront.Front
	authority *authority.Authority
	key       *jose.JSONWebKey
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"log", "keys"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{}
	if s.ledger, err = sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ledger.Close(); log.Close() })
	keystore.SpareRounds()
	keys, err := keystore.Open(keystore.Config{Dir: dir, Passphrase: func() ([]byte, error) { return []byte("correct horse"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	profile, err := issuer.NewProfile("device", issuer.ProfileConfig{Preset: "device"}, "")
	if err != nil {
		t.Fatal(err)
	}
	server, err := issuer.NewProfile("server", issuer.ProfileConfig{Preset: "server"}, "")
	if err != nil {
		t.Fatal(err)
	}
	s.ra, err = issuer.New(t.Context(), issuer.Config{
		Ledger: s.ledger, Keys: keys, Server: "test", Logger: slog.New(slog.DiscardHandler),
		Profiles: map[string]*issuer.Profile{"device": profile, "server": server},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []issuer.AuthoritySpec{
		{Spec: ca.Spec{Name: "root", Subject: pkix.Name{CommonName: "Root"}, Validity: 20 * 365 * 24 * time.Hour}, Key: ca.P256},
		{Spec: ca.Spec{Name: "issuing", Subject: pkix.Name{CommonName: "Issuing"}, Validity: 10 * 365 * 24 * time.Hour}, Key: ca.P256, Issuer: "root"},
	} {
		if _, err := s.ra.CreateAuthority(t.Context(), spec, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	s.front = casfront.New(s.ra, map[string]casfront.Route{
		"line":    {Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted},
		"listed":  {Profile: "device", Issuer: "issuing", Authorize: issuer.Inventory},
		"ordered": {Profile: "device", Issuer: "issuing", Authorize: issuer.ByOrder},
		"unruled": {Profile: "device", Issuer: "issuing"},
	}, &casfront.Route{Profile: "server", Issuer: "issuing", Authorize: issuer.Trusted})

	s.key, err = jose.GenerateJWK("EC", "P-256", "ES256", "sig", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	public := s.key.Public()
	s.authority, err = authority.NewEmbedded(
		authority.WithX509CAService(s.front),
		authority.WithX509RootCerts(s.ra.Anchors("issuing")[0]),
		authority.WithConfig(&config.Config{DNSNames: []string{"localhost"}, AuthorityConfig: &config.AuthConfig{
			Provisioners: provisioner.List{
				&provisioner.JWK{Type: "JWK", Name: "line", Key: &public},
				&provisioner.JWK{Type: "JWK", Name: "unrouted", Key: &public},
			},
		}}),
		authority.WithQuietInit(),
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// options authorise a request as the provisioner's token would.
func (s *setup) options(t *testing.T, name, subject string, sans ...string) []provisioner.SignOption {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key.Key}, new(jose.SignerOptions).WithType("JWT").WithHeader("kid", s.key.KeyID))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.authority.LoadProvisionerByName(name)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jose.Signed(signer).Claims(jose.Claims{
		Subject: subject, Issuer: name, Audience: jose.Audience{"https://localhost/1.0/sign"}, ID: rand.Text(),
		NotBefore: jose.NewNumericDate(now), Expiry: jose.NewNumericDate(now.Add(time.Minute)),
	}).Claims(map[string]any{"sans": sans}).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	options, err := s.authority.Authorize(provisioner.NewContextWithMethod(t.Context(), provisioner.SignMethod), token)
	if err != nil {
		t.Fatal(err)
	}
	return options
}

func parseCSR(t *testing.T, der []byte) *x509.CertificateRequest {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// TestAuthority drives smallstep's authority over the cycle: what it returns is
// in the ledger, and what the profile refuses it cannot get.
func TestAuthority(t *testing.T) {
	s := newSetup(t)
	csr := parseCSR(t, pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-1"}, "device-1"))
	chain, err := s.authority.SignWithContext(t.Context(), csr, provisioner.SignOptions{}, s.options(t, "line", "device-1", "device-1")...)
	if err != nil {
		t.Fatal(err)
	}
	record, err := s.ledger.Certificate(t.Context(), issuer.SerialOf(chain[0].SerialNumber))
	if err != nil || record.Requester.Kind != "cas" || record.Requester.Name != "line" || record.State != ledger.Valid {
		t.Fatalf("what smallstep's authority returned is not in the ledger: %+v %v", record, err)
	}
	if err := chain[0].CheckSignatureFrom(s.ra.Anchors("issuing")[1]); err != nil {
		t.Error(err)
	}

	before := s.all(t)
	weak, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	for name, sign := range map[string]func() error{
		"a provisioner without a route": func() error {
			_, err := s.authority.SignWithContext(t.Context(), csr, provisioner.SignOptions{}, s.options(t, "unrouted", "device-1", "device-1")...)
			return err
		},
		"a name outside the profile": func() error {
			bad := parseCSR(t, pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device *"}))
			_, err := s.authority.SignWithContext(t.Context(), bad, provisioner.SignOptions{}, s.options(t, "line", "device *")...)
			return err
		},
		"a weak key": func() error {
			_, err := s.authority.SignWithContext(t.Context(), parseCSR(t, csrBy(t, weak, "device-2")), provisioner.SignOptions{}, s.options(t, "line", "device-2", "device-2")...)
			return err
		},
		"a clone": func() error {
			second := parseCSR(t, pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-1"}, "device-1"))
			_, err := s.authority.SignWithContext(t.Context(), second, provisioner.SignOptions{}, s.options(t, "line", "device-1", "device-1")...)
			return err
		},
		// The authority re-signs whatever it is shown; the seam does not.
		"renewal of a stranger's certificate": func() error {
			_, err := s.authority.RenewContext(context.Background(), selfSigned(t), nil)
			return err
		},
		"a CA template": func() error {
			_, err := s.front.CreateCertificate(&apiv1.CreateCertificateRequest{CSR: csr, Template: &x509.Certificate{IsCA: true, Subject: csr.Subject}, Provisioner: &apiv1.ProvisionerInfo{Name: "line"}})
			return err
		},
		"a template for another name": func() error {
			_, err := s.front.CreateCertificate(&apiv1.CreateCertificateRequest{CSR: csr, Template: &x509.Certificate{Subject: pkix.Name{CommonName: "device-2"}}, Provisioner: &apiv1.ProvisionerInfo{Name: "line"}})
			return err
		},
	} {
		if err := sign(); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if after := s.all(t); after != before {
		t.Errorf("the refused requests left %d records", after-before)
	}

	if err := s.authority.Revoke(provisioner.NewContextWithMethod(t.Context(), provisioner.RevokeMethod), &authority.RevokeOptions{
		Serial: chain[0].SerialNumber.String(), MTLS: true, Crt: chain[0], ReasonCode: int(ledger.KeyCompromise),
	}); err != nil {
		t.Logf("smallstep: %v", err) // its own passive record needs a database
	}
	record, err = s.ledger.Certificate(t.Context(), record.Serial)
	if err != nil || record.State != ledger.Revoked || record.Reason != ledger.KeyCompromise {
		t.Errorf("revocation did not reach the ledger: %+v %v", record, err)
	}
}

// TestRefusals finds each refused call once among the refusals, whether the
// front or the cycle refused it.
func TestRefusals(t *testing.T) {
	s := newSetup(t)
	key := pkitest.NewKey(t)
	csr := parseCSR(t, pkitest.CSR(t, key, pkix.Name{CommonName: "device-1"}, "device-1"))
	named := func(name string) *x509.Certificate { return &x509.Certificate{Subject: pkix.Name{CommonName: name}} }
	template := &x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames}
	for _, test := range []struct {
		provisioner, rule string
		template          *x509.Certificate
	}{
		{"nowhere", "cas-route", template},
		{"line", "cas-names", named("device-2")},
		{"listed", "device-unlisted", template},
		{"ordered", "authorize", template},
		{"unruled", "authorize", template},
	} {
		if _, err := s.front.CreateCertificate(&apiv1.CreateCertificateRequest{CSR: csr, Template: test.template, Provisioner: &apiv1.ProvisionerInfo{Name: test.provisioner}}); err == nil {
			t.Errorf("%s: issued", test.provisioner)
		}
		list := s.refusals(t)
		if len(list) == 0 {
			t.Fatalf("%s: no refusal on record", test.provisioner)
		}
		r := list[0]
		if r.Rule != test.rule || r.Requester.Name != test.provisioner || r.Requester.Kind != "cas" || r.Subject != "CN=device-1" || r.Operation != "cas create" || r.Key == [32]byte{} {
			t.Errorf("%s: record %+v", test.provisioner, r)
		}
	}
	if _, err := s.front.RenewCertificate(&apiv1.RenewCertificateRequest{Template: named("device-1")}); err == nil {
		t.Error("renewed")
	}
	list := s.refusals(t)
	if len(list) != 6 || list[0].Rule != "cas-renewal" {
		t.Errorf("%d refusals on record, the last %+v", len(list), list[0])
	}
}

// refusals lists what is on record, the newest first.
func (s *setup) refusals(t *testing.T) []ledger.Refused {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.ra.KeepRefusals(ctx)
	list, err := s.ledger.Refusals(t.Context(), ledger.RefusalQuery{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// all counts everything the ledger holds, in whatever state.
func (s *setup) all(t *testing.T) int {
	t.Helper()
	page, err := s.ledger.Certificates(t.Context(), ledger.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Certificates)
}

func csrBy(t *testing.T, key crypto.Signer, name string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func selfSigned(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "evil"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
