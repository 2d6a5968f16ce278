package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca/revocation"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// sharded is a hierarchy whose issuing CA has a CRL in parts.
type sharded struct {
	ra        *issuer.RA
	publisher *revocation.Publisher
	fence     ledger.Fence
}

// newSharded opens the same ledger and keys under another configuration, too.
func newSharded(t *testing.T, l ledger.Ledger, keys issuer.KeyStore, change func(*issuer.Config)) *sharded {
	t.Helper()
	s := &sharded{}
	s.ra = newRA(t, l, func(c *issuer.Config) {
		c.Keys = keys
		change(c)
	})
	if len(s.ra.Authorities()) == 0 {
		withHierarchy(t, s.ra)
	}
	s.publisher = revocation.New(revocation.Config{
		Ledger: l, Authorities: s.ra.Authorities, Period: time.Hour, Lifetime: 4 * time.Hour, Now: s.ra.Now, Logger: slog.New(slog.DiscardHandler),
		ShardCount: s.ra.ShardsOf, Points: s.ra.CRLPoints,
	})
	var err error
	if s.fence, err = l.Acquire(t.Context(), "crl", "test", time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sharded) enroll(t *testing.T, profile, name string) *x509.Certificate {
	t.Helper()
	answer, err := s.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: profile, Issuer: "issuing", Requester: password,
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkixName(name)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Certificate
}

func (s *sharded) revoke(t *testing.T, c *x509.Certificate) {
	t.Helper()
	if _, err := s.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
}

func (s *sharded) publish(t *testing.T) {
	t.Helper()
	if err := s.publisher.PublishDue(t.Context(), s.fence); err != nil {
		t.Fatal(err)
	}
}

// crl fetches the CRL that a certificate names, as a relying party would.
func (s *sharded) crl(t *testing.T, c *x509.Certificate) *x509.RevocationList {
	t.Helper()
	point := c.CRLDistributionPoints[0]
	path := strings.TrimPrefix(point, "http://")
	_, path, _ = strings.Cut(path, "/")
	list, err := x509.ParseRevocationList(fetch(t, s.publisher.Handler(), "/"+path))
	if err != nil {
		t.Fatalf("%s: %v", point, err)
	}
	return list
}

// judge asks OpenSSL about a certificate with the CRL that it names, and with a CRL of the
// root.
func (s *sharded) judge(t *testing.T, c *x509.Certificate, crl *x509.RevocationList) string {
	t.Helper()
	write := func(name string, kind string, ders ...[]byte) string {
		return pkitest.WriteFile(t, name, pkitest.PEM(kind, ders...))
	}
	root, err := s.ra.Authority("root")
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := s.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	tool := pkitest.Tool(t, "openssl")
	out, err := exec.CommandContext(t.Context(), tool, "verify", "-crl_check", "-CAfile", write("root.pem", "CERTIFICATE", root.Certificate().Raw),
		"-untrusted", write("issuing.pem", "CERTIFICATE", issuing.Certificate().Raw), "-CRLfile", write("list.pem", "X509 CRL", crl.Raw), write("leaf.pem", "CERTIFICATE", c.Raw)).CombinedOutput()
	if err == nil {
		return "good"
	}
	for _, words := range []string{"certificate revoked", "Different CRL scope", "different CRL scope", "unable to get certificate CRL"} {
		if strings.Contains(string(out), words) {
			return strings.ToLower(words)
		}
	}
	return string(out)
}

func withShards(n int) func(*issuer.Config) {
	return func(c *issuer.Config) {
		if n > 0 {
			c.Shards = map[string]int{"issuing": n}
		}
	}
}

// TestShardsOfSuccessor: an issuing CA that takes the place of one whose CRL is in parts has as many,
// as long as nothing is configured for itself, and they are published.
func TestShardsOfSuccessor(t *testing.T) {
	l, store := newLedger(t), newKeys(t)
	s := newSharded(t, l, store, withShards(4))
	x := rotate(t, s.ra, issuingSpec)
	x.to(t, rotation.PathsVerified)
	if n := s.ra.ShardsOf("issuing-b"); n != 0 {
		t.Errorf("%d shards before it serves anybody", n)
	}
	x.to(t, rotation.Retired)
	y := rotate(t, s.ra, rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing-b", New: "issuing-c"})
	y.to(t, rotation.Switched)
	for name, want := range map[string]int{"root": 0, "issuing": 4, "issuing-b": 4, "issuing-c": 4} {
		if n := s.ra.ShardsOf(name); n != want {
			t.Errorf("%s has %d shards, want %d", name, n, want)
		}
	}
	c := s.enroll(t, "device", "device-1")
	if point := c.CRLDistributionPoints[0]; !strings.Contains(point, "/crl/issuing-c/") {
		t.Errorf("it names %s", point)
	}
	s.revoke(t, c)
	s.publish(t)
	if list := s.crl(t, c); len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("its shard has %d entries", len(list.RevokedCertificateEntries))
	}
	own := newSharded(t, l, store, func(c *issuer.Config) { c.Server, c.Shards = "own", map[string]int{"issuing": 4, "issuing-c": 2} })
	if n := own.ra.ShardsOf("issuing-c"); n != 2 {
		t.Errorf("named itself it has %d shards", n)
	}
}

// TestShards follows one issuing CA through every change of crl.shards and of public_url:
// each certificate that is revoked is on the CRL that it names itself, and OpenSSL, GnuTLS
// and Go find it there, whatever the configuration was when it was issued.
func TestShards(t *testing.T) {
	l, keys := newLedger(t), newKeys(t)
	before := newSharded(t, l, keys, withShards(0))
	old := []*x509.Certificate{before.enroll(t, "device", "old-good"), before.enroll(t, "device", "old-bad")}
	before.publish(t)
	if x := extension(before.crl(t, old[0]), "2.5.29.28"); x != nil {
		t.Error("a CRL of all has an issuingDistributionPoint")
	}

	own := []string{"http://other.example/{issuer}.crl"}
	four := newSharded(t, l, keys, func(c *issuer.Config) {
		withShards(4)(c)
		c.Profiles["elsewhere"] = profile(t, "elsewhere", issuer.ProfileConfig{Preset: "device", CRL: &own})
	})
	var certificates []*x509.Certificate
	shards := map[string]int{}
	for i := range 24 {
		c := four.enroll(t, "device", fmt.Sprintf("four-%d", i))
		rest := new(big.Int).Mod(c.SerialNumber, big.NewInt(4)).Int64()
		want := fmt.Sprintf("http://ca.example:8080/crl/issuing/%d.crl", rest+1)
		if len(c.CRLDistributionPoints) != 1 || c.CRLDistributionPoints[0] != want {
			t.Fatalf("%x names %v, want %s", c.SerialNumber, c.CRLDistributionPoints, want)
		}
		record, err := l.Certificate(t.Context(), issuer.SerialOf(c.SerialNumber))
		if err != nil || record.Shard != int(rest)+1 {
			t.Fatalf("recorded in shard %d, want %d: %v", record.Shard, rest+1, err)
		}
		shards[want]++
		certificates = append(certificates, c)
	}
	if len(shards) < 3 {
		t.Errorf("24 certificates in %v", shards)
	}
	elsewhere := four.enroll(t, "elsewhere", "elsewhere-bad")
	four.revoke(t, old[1])
	four.revoke(t, elsewhere)
	for i := 1; i < len(certificates); i += 2 {
		four.revoke(t, certificates[i])
	}
	four.publish(t)

	// Fewer parts, then more, then another address, then none: nothing of what was issued changes.
	stages := []struct {
		name   string
		change func(*issuer.Config)
	}{
		{"4 shards", withShards(4)}, {"2 shards", withShards(2)}, {"7 shards", withShards(7)}, {"no shards", withShards(0)},
		{"another address", func(c *issuer.Config) {
			withShards(4)(c)
			c.PublicURL, c.FormerURLs = "http://new.example", []string{"http://ca.example:8080"}
			c.Profiles["device"], _ = issuer.NewProfile("device", issuer.ProfileConfig{Preset: "device"}, c.PublicURL)
		}},
	}
	for n, stage := range stages {
		s := newSharded(t, l, keys, func(c *issuer.Config) {
			c.Profiles["elsewhere"] = profile(t, "elsewhere", issuer.ProfileConfig{Preset: "device", CRL: &own})
			stage.change(c)
		})
		fresh := s.enroll(t, "device", fmt.Sprintf("fresh-%d", n))
		late := s.enroll(t, "device", fmt.Sprintf("late-%d", n))
		s.revoke(t, late)
		certificates = append(certificates, fresh, late)
		s.publish(t)
		all := append(slices.Clone(old), certificates...)
		for i, c := range all {
			want := []string{"good", "certificate revoked"}[i%2]
			list := s.crl(t, c)
			if listed := lists(list, c); listed != (want != "good") {
				t.Errorf("%s: %s is listed: %t", stage.name, c.Subject, listed)
			}
			if i < 6 || i >= len(all)-2 { // one of each kind
				if got := s.judge(t, c, list); got != want {
					t.Errorf("%s: OpenSSL says %q of %s, want %s", stage.name, got, c.Subject, want)
				}
			}
		}
		// The profile with an address of its own: whoever serves it there takes the full CRL.
		full, err := l.LatestCRL(t.Context(), "issuing", 0)
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(full.DER)
		if err != nil || !lists(list, elsewhere) {
			t.Fatalf("%s: the full CRL does not list %s: %v", stage.name, elsewhere.Subject, err)
		}
		if got := s.judge(t, elsewhere, list); got != "certificate revoked" {
			t.Errorf("%s: OpenSSL says %q of a certificate with an address of its own", stage.name, got)
		}
		// A CRL says nothing about what is in another part.
		for i, c := range certificates[:24] {
			other := certificates[(i+1)%24]
			if c.CRLDistributionPoints[0] != other.CRLDistributionPoints[0] {
				if got := s.judge(t, c, s.crl(t, other)); got != "different crl scope" {
					t.Errorf("%s: OpenSSL says %q of a certificate and the CRL of another part", stage.name, got)
				}
				break
			}
		}
		gnutls(t, s, certificates[1])
	}
	// Rising, each of them.
	numbers := map[int]int64{}
	crls, err := l.CRLs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, crl := range crls {
		if crl.Issuer == "issuing" {
			numbers[crl.Shard] = crl.Number
		}
	}
	if len(numbers) != 8 {
		t.Errorf("CRLs %v", numbers)
	}
	last := newSharded(t, l, keys, withShards(4))
	issuing, err := last.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	if err := last.publisher.Publish(t.Context(), last.fence, issuing); err != nil {
		t.Fatal(err)
	}
	for shard, before := range numbers {
		if crl, err := l.LatestCRL(t.Context(), "issuing", shard); err != nil || crl.Number <= before {
			t.Errorf("shard %d: number %d after %d: %v", shard, crl.Number, before, err)
		}
	}
	if err := last.publisher.Publish(t.Context(), last.fence, issuing, 8); err == nil {
		t.Error("signed the CRL of a shard that there never was")
	}
}

// gnutls has GnuTLS verify the CRL of a shard.
func gnutls(t *testing.T, s *sharded, c *x509.Certificate) {
	t.Helper()
	tool := pkitest.Tool(t, "certtool")
	issuing, err := s.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	crl := pkitest.WriteFile(t, "list.pem", pkitest.PEM("X509 CRL", s.crl(t, c).Raw))
	by := pkitest.WriteFile(t, "ca.pem", pkitest.PEM("CERTIFICATE", issuing.Certificate().Raw))
	out, err := exec.CommandContext(t.Context(), tool, "--verify-crl", "--load-ca-certificate", by, "--infile", crl).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Verified") {
		t.Errorf("certtool: %v\n%s", err, out)
	}
}

func lists(list *x509.RevocationList, c *x509.Certificate) bool {
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 })
}

func extension(list *x509.RevocationList, id string) []byte {
	for _, x := range list.Extensions {
		if x.Id.String() == id {
			return x.Value
		}
	}
	return nil
}

// TestShardOfGateway: the certificate of a gateway is one of a CA, which a shard is not about.
func TestShardOfGateway(t *testing.T) {
	l := newLedger(t)
	ra := withEdgeCA(t, newRA(t, l, func(c *issuer.Config) {
		withEdge(t)(c)
		c.Shards = map[string]int{"edge": 3}
	}))
	r := issuer.Request{Profile: "edge-est", Gateway: "edge-ca", Issuer: "edge", Label: "edge", Authorize: issuer.Trusted, Device: "dev-1",
		Requester: password, SecondKey: issuer.AllowSecondKey}
	for _, change := range []func(*x509.CertificateRequest){nil, edgeCA} {
		r.CSR = signed(t, pkitest.Key(t, "RSA-2048"), pkixName("aziot-edge CA dev-1"), change)
		answer, err := ra.Enroll(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		record, err := l.Certificate(t.Context(), answer.Serial)
		if err != nil || (record.Shard == 0) != (change != nil) {
			t.Errorf("gateway %t: shard %d, %v", change != nil, record.Shard, err)
		}
		if points := answer.Certificate.CRLDistributionPoints; !slices.Equal(points, ra.CRLPoints("edge", record.Shard)) {
			t.Errorf("gateway %t: it names %v, and its CRL is at %v", change != nil, points, ra.CRLPoints("edge", record.Shard))
		}
	}
}

func pkixName(commonName string) pkix.Name { return pkix.Name{CommonName: commonName} }

// fetch gets a file as relying parties do.
func fetch(t *testing.T, h http.Handler, path string) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}
