package dpssim

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"mintmark/internal/pkitest"
)

// clientCertificate makes a certificate of an application.
func clientCertificate(t testing.TB) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mintmark"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	return signCertificate(t, tmpl, tmpl, key.Public(), key), key
}

func TestClientCertificate(t *testing.T) {
	cert, key := clientCertificate(t)
	s := startSim(t, func(c *Config) { c.ClientCertificate = cert })
	cfg := s.Config()
	get := func(cert *x509.Certificate, key crypto.PrivateKey) error {
		c, err := azidentity.NewClientCertificateCredential(cfg.TenantID, cfg.ClientID, []*x509.Certificate{cert}, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: s.options(t), SendCertificateChain: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{dpsScope}})
		return err
	}
	if err := get(cert, key); err != nil {
		t.Errorf("the vendor's own credential: %v", err)
	}
	other, otherKey := clientCertificate(t)
	if err := get(other, otherKey); err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Errorf("another certificate: %v", err)
	}
}

// assert signs an assertion by hand, with RS256 as older clients do.
func assert(t testing.TB, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	var parts []string
	for _, v := range []any{header, claims} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(b))
	}
	signed := strings.Join(parts, ".")
	digest := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestAssertions(t *testing.T) {
	cert, key := clientCertificate(t)
	_, otherKey := clientCertificate(t)
	s := startSim(t, func(c *Config) { c.ClientCertificate = cert })
	without := startSim(t)
	cfg := s.Config()
	at := "https://login.microsoftonline.com/" + cfg.TenantID + "/oauth2/v2.0/token"
	sum := sha256.Sum256(cert.Raw)
	header := map[string]any{"alg": "RS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	claims := map[string]any{
		"aud": at, "iss": cfg.ClientID, "sub": cfg.ClientID, "jti": "1", "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	with := func(m map[string]any, name string, value any) map[string]any {
		out := maps.Clone(m)
		out[name] = value
		return out
	}
	good := assert(t, key, header, claims)
	for name, tt := range map[string]struct {
		sim             *Sim
		kind, assertion string
		status          int
		want            string
	}{
		"good":              {s, assertionType, good, 200, "access_token"},
		"no certificate":    {without, assertionType, good, 401, "AADSTS700027"},
		"no type":           {s, "", good, 400, "AADSTS90014"},
		"another key":       {s, assertionType, assert(t, otherKey, header, claims), 401, "AADSTS50013"},
		"another algorithm": {s, assertionType, assert(t, key, with(header, "alg", "PS256"), claims), 401, "AADSTS50013"},
		"none":              {s, assertionType, assert(t, key, with(header, "alg", "none"), claims), 401, "AADSTS50027"},
		"no thumbprint":     {s, assertionType, assert(t, key, with(header, "x5t#S256", ""), claims), 401, "AADSTS50027"},
		"another thumb":     {s, assertionType, assert(t, key, with(header, "x5t#S256", strings.Repeat("A", 43)), claims), 401, "AADSTS700027"},
		"audience":          {s, assertionType, assert(t, key, header, with(claims, "aud", "https://elsewhere")), 401, "AADSTS700023"},
		"issuer":            {s, assertionType, assert(t, key, header, with(claims, "iss", "me")), 401, "AADSTS700021"},
		"subject":           {s, assertionType, assert(t, key, header, with(claims, "sub", "me")), 401, "AADSTS700021"},
		"expired":           {s, assertionType, assert(t, key, header, with(claims, "exp", time.Now().Add(-time.Minute).Unix())), 401, "AADSTS700024"},
		"of tomorrow":       {s, assertionType, assert(t, key, header, with(claims, "nbf", time.Now().Add(time.Hour).Unix())), 401, "AADSTS700024"},
		"two parts":         {s, assertionType, "a.b", 401, "AADSTS50027"},
		"no base64":         {s, assertionType, "%.%.%", 401, "AADSTS50027"},
		"no JSON":           {s, assertionType, "AAAA.AAAA.AAAA", 401, "AADSTS50027"},
	} {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {cfg.ClientID}, "scope": {dpsScope}, "client_assertion": {tt.assertion}}
		if tt.kind != "" {
			form.Set("client_assertion_type", tt.kind)
		}
		status, _, body := tt.sim.call(t, "POST", at, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func FuzzAssertion(f *testing.F) {
	cert, key := clientCertificate(f)
	sum := sha256.Sum256(cert.Raw)
	other := &x509.Certificate{Raw: []byte("other"), PublicKey: pkitest.NewKey(f).Public()}
	f.Add(assert(f, key, map[string]any{"alg": "RS256", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}, map[string]any{"aud": "a"}))
	f.Add(assert(f, key, map[string]any{"alg": "PS256", "x5t": "AAAA"}, map[string]any{"exp": 1}))
	f.Add("a.b.c")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAssertion(text)
		if (err == nil) != (a != nil) {
			t.Fatalf("%v %v", a, err)
		}
		if a == nil {
			return
		}
		if code, err := a.verify(other, "me", "here", time.Unix(0, 0)); err == nil || code == 0 {
			t.Fatalf("%q is believed", text)
		}
		if code, err := a.verify(cert, "me", "here", time.Unix(0, 0)); err == nil || code == 0 {
			t.Fatalf("%q is believed", text)
		}
	})
}
