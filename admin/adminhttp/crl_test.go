package adminhttp_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/ca"
	"mintmark/ca/revocation"
	"mintmark/internal/pkitest"
)

// TestImportCRL brings CRLs over the API; what the registration authority refuses of their
// contents is tested with it.
func TestImportCRL(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	root := elsewhere(t)
	if _, err := w.client.ImportAuthority(t.Context(), "elsewhere", admin.AuthorityImport{Certificates: string(pkitest.PEM("CERTIFICATE", root.Raw))}); err != nil {
		t.Fatal(err)
	}
	put := func(content string) (admin.CRLImported, error) {
		return w.client.ImportCRL(t.Context(), "elsewhere", admin.CRLImport{Content: content})
	}
	crl := func(number int64, serials ...*big.Int) string {
		return string(pkitest.PEM("X509 CRL", listElsewhere(t, number, serials...)))
	}
	// A certificate of the CA that was recorded here.
	device := signedElsewhere(t, "press-1")
	if _, err := w.client.ImportCertificates(t.Context(), pkitest.PEM("CERTIFICATE", device), admin.CertificateImport{Profile: "device"}); err != nil {
		t.Fatal(err)
	}
	serial := parse(t, string(pkitest.PEM("CERTIFICATE", device))).SerialNumber
	done, err := put(crl(1, serial))
	if err != nil || done.Number != 1 || done.Issuer != "elsewhere" || len(done.Revoked) != 1 || done.Warning != "" {
		t.Fatalf("imported %+v, %v", done, err)
	}
	if c, err := w.client.Certificate(t.Context(), done.Revoked[0]); err != nil || c.State != "revoked" {
		t.Errorf("it is %+v, %v", c, err)
	}
	if got, err := w.client.CRL(t.Context(), "elsewhere"); err != nil || got.Number != 1 || !strings.Contains(got.Content, "X509 CRL") {
		t.Errorf("the latest is %+v, %v", got, err)
	}
	for _, c := range []struct {
		name, content string
		status        int
		rule          string
	}{
		{"empty", "", 400, "crl"},
		{"no PEM", "crl", 400, "crl"},
		{"a certificate", string(pkitest.PEM("CERTIFICATE", root.Raw)), 400, "crl"},
		{"two", crl(2, serial) + crl(3, serial), 400, "crl"},
		{"words behind it", crl(2, serial) + "and more", 400, "crl"},
		{"not DER", string(pkitest.PEM("X509 CRL", []byte("x"))), 400, "crl"},
		{"same number", crl(1, serial, big.NewInt(9)), 409, "crl-number"},
		{"entry missing", crl(2), 409, "crl-entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := put(c.content)
			refused(t, err, c.status, c.rule)
		})
	}
	_, err = w.client.ImportCRL(t.Context(), "root", admin.CRLImport{Content: crl(2)})
	refused(t, err, http.StatusConflict, "crl-key")
	_, err = w.client.ImportCRL(t.Context(), "nobody", admin.CRLImport{Content: crl(2)})
	refused(t, err, http.StatusNotFound, "authority")

	// What was revoked here only is told, and stays in the status.
	other := signedElsewhere(t, "press-2")
	if _, err := w.client.ImportCertificates(t.Context(), pkitest.PEM("CERTIFICATE", other), admin.CertificateImport{Profile: "device"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Revoke(t.Context(), admin.Revocation{Device: "press-2"}); err != nil {
		t.Fatal(err)
	}
	if done, err = put(crl(2, serial)); err != nil || !strings.Contains(done.Warning, "not on the CRL") {
		t.Errorf("imported %+v, %v", done, err)
	}
	if s, err := w.client.Status(t.Context()); err != nil || s.UnlistedRevocations["elsewhere"] != 1 || len(s.CRLs) != 1 {
		t.Errorf("the status is %+v, %v", s, err)
	}
	if done, err = put(crl(3, serial, parse(t, string(pkitest.PEM("CERTIFICATE", other))).SerialNumber)); err != nil || done.Warning != "" {
		t.Errorf("imported %+v, %v", done, err)
	}
	if s, err := w.client.Status(t.Context()); err != nil || s.UnlistedRevocations["elsewhere"] != 0 || len(s.CRLs) != 0 {
		t.Errorf("the status is %+v, %v", s, err)
	}
}

// TestRolloverFiles: what a request brings for a rollover must be one certificate each.
func TestRolloverFiles(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	if _, err := w.client.CreateAuthority(t.Context(), admin.AuthoritySpec{Name: "root2", Subject: admin.Name{CommonName: "Test Root"}, ValiditySeconds: 30 * 365 * 86400}); err != nil {
		t.Fatal(err)
	}
	root := string(pkitest.PEM("CERTIFICATE", elsewhere(t).Raw))
	request := string(pkitest.PEM("CERTIFICATE REQUEST", pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "x"})))
	for _, c := range []struct {
		name, content string
		status        int
		rule          string
	}{
		{"no PEM", "x", 400, "authority-bundle"},
		{"a request", request, 400, "authority-bundle"},
		{"two", root + root, 400, "rollover-certificate"},
		{"of another CA", root, 409, "rollover-certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.BeginRollover(t.Context(), admin.RolloverSpec{Old: "root", New: "root2", OldWithNew: c.content})
			refused(t, err, c.status, c.rule)
			_, err = w.client.BeginRollover(t.Context(), admin.RolloverSpec{Old: "root", New: "root2", NewWithOld: c.content})
			refused(t, err, c.status, c.rule)
		})
	}
}

// TestRolloverFilesWords: the second officer signs the hash of a certificate that was signed elsewhere.
func TestRolloverFilesWords(t *testing.T) {
	p := populate(t)
	p.root(t, "root2", 30)
	old, err := p.ra.Authority("root")
	if err != nil {
		t.Fatal(err)
	}
	next, err := p.ra.Authority("root2")
	if err != nil {
		t.Fatal(err)
	}
	of := old.Certificate()
	prepared, err := next.Prepare(&x509.Certificate{
		SerialNumber: big.NewInt(4711), RawSubject: of.RawSubject, SubjectKeyId: of.SubjectKeyId, KeyUsage: of.KeyUsage,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: of.MaxPathLen, MaxPathLenZero: of.MaxPathLenZero,
	}, of.PublicKey, ca.Rules{CA: true})
	if err != nil {
		t.Fatal(err)
	}
	prepared.Recorded()
	c, err := prepared.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer := p.ask(t, "alice", "POST", wire{path: "/v1/rollovers", body: admin.RolloverSpec{Old: "root", New: "root2", OldWithNew: string(pkitest.PEM("CERTIFICATE", c.Raw))}})
	var a admin.Approval
	if err := json.Unmarshal(answer.Body.Bytes(), &a); err != nil || answer.Code != http.StatusAccepted ||
		strings.Count(a.Words, "by the certificate that comes with this") != 1 || !strings.Contains(a.Words, fmt.Sprintf("%x", sha256.Sum256(c.Raw))) {
		t.Errorf("answered %d %q", answer.Code, a.Words)
	}
}

// TestShardCRL: a shard that is named is one that there is. How they are signed is tested with
// package revocation.
func TestShardCRL(t *testing.T) {
	w := open(t, func(c *adminhttp.Config) {
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		c.CRLPlaces = func() []revocation.PlaceState {
			return []revocation.PlaceState{{Name: "dir a", Complete: at}, {Name: "s3 b/", Behind: 2, Problems: []string{"crl/issuing.crl: status 403"}}}
		}
	}).hierarchy(t)
	full, err := w.client.CRL(t.Context(), "issuing")
	if err != nil {
		t.Fatal(err)
	}
	if zero, err := w.client.ShardCRL(t.Context(), "issuing", 0); err != nil || zero.Number != full.Number || zero.Content == "" {
		t.Errorf("shard 0: %d, want %d: %v", zero.Number, full.Number, err)
	}
	if next, err := w.client.PublishShardCRL(t.Context(), "issuing", 0); err != nil || next.Number <= full.Number {
		t.Errorf("signing shard 0: %d after %d: %v", next.Number, full.Number, err)
	}
	for shard, want := range map[int]string{1: "not-found", 256: "not-found", 257: "shard", -1: "shard"} {
		if _, err := w.client.ShardCRL(t.Context(), "issuing", shard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("reading shard %d: %v", shard, err)
		}
		if _, err := w.client.PublishShardCRL(t.Context(), "issuing", shard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("signing shard %d: %v", shard, err)
		}
	}
	status, err := w.client.Status(t.Context())
	if err != nil || len(status.CRLPlaces) != 2 || status.CRLPlaces[0].Complete == nil || status.CRLPlaces[1].Complete != nil || status.CRLPlaces[1].Behind != 2 {
		t.Errorf("places %+v: %v", status.CRLPlaces, err)
	}
}
