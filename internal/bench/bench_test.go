package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/issuer"
)

func TestSelectRows(t *testing.T) {
	all, err := selectRows(nil, 0)
	if err != nil || len(all) != len(rows(0)) {
		t.Errorf("without names: %d of %d, %v", len(all), len(rows(0)), err)
	}
	some, err := selectRows([]string{"raw", "est_200k_ratio"}, 200_000)
	if err != nil || !some.wants("raw") || some.wants(keepalive64) || !some.group(groupScale, 200_000) || some.group(groupBatch, 200_000) {
		t.Errorf("two names: %v, %v", some, err)
	}
	for _, name := range []string{"est", "est_200k_ratio", ""} {
		if _, err := selectRows([]string{name}, 0); err == nil || !strings.Contains(err.Error(), "--list") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for n, want := range map[int]string{0: "5m", 5_000_000: "5m", 200_000: "200k", 1_500_000: "1500k", 1234: "1234"} {
		if got := scaleName(n); got != want {
			t.Errorf("%d certificates are called %q, want %q", n, got, want)
		}
	}
}

// The table has every figure beside what is wanted, and the file all of them in the order of
// the list, by names that do not change.
func TestReport(t *testing.T) {
	figures := []Figure{
		{Name: "est_5m_ratio", Value: 0.93, Unit: "of empty", note: "a note"},
		{Name: keepalive64, Value: 1209.4, Unit: "certificates/s", RatioToRaw: 0.304, CPUms: 0.776, batch: 33.9, p50: 50 * time.Millisecond, p99: time.Second},
		{Name: "raw", Value: 4071, Unit: "certificates/s", RatioToRaw: 1},
	}
	var out bytes.Buffer
	for _, group := range []string{groupEST, groupScale, groupBatch} {
		if err := report(&out, 5_000_000, group, figures); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{groupEST, keepalive64, "1209", "0.30", "at least 0.30 of raw", "0.776", "33.9", "50.0", "1000.0", groupScale, "0.93", "at least 0.85", "a note"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), groupBatch) {
		t.Error("a group without figures is in the tables")
	}
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := write(path, 5_000_000, slices.Clone(figures)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(text, &got); err != nil || len(got) != 3 || got[0]["name"] != "raw" || got[1]["name"] != keepalive64 || got[2]["name"] != "est_5m_ratio" {
		t.Errorf("%v, %v", got, err)
	}
	if got[1]["ratio_to_raw"] != 0.304 || got[1]["unit"] != "certificates/s" || got[1]["value"] != 1209.4 {
		t.Errorf("%v", got[1])
	}
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	if err := List(&out, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"raw", "est_keepalive_8", "est_keepalive_64", "est_newtls_8", "est_newtls_64", "ocsp_presigned", "hsm_p256_ratio", "hsm_sessions_ratio", "batch_p256", "keygen_create_2cores",
		"postgres_64", "est_p99_half_load", "est_5m_ratio", "query_5m_worst", "bytes_per_certificate", "bytes_per_certificate_log", "rss_idle", "rss_load", "start_5m",
	} {
		if !strings.Contains(out.String(), "  "+name+" ") {
			t.Errorf("%s is not in the list", name)
		}
	}
}

// What is made of a template differs from it in what two enrollments of the same kind
// differ in, and is signed by the CA.
func TestTemplate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	keyID := func(k *ecdsa.PublicKey) []byte {
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		id := sha256.Sum256(point)
		return id[:keyIDSize]
	}
	parent := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: keyID(&key.PublicKey),
	}
	enrolled := func(id []byte) sqldb.Filled {
		serial := issuer.NewSerial(now)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: "SN0000001"}, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(2, 0, 0), SubjectKeyId: id,
		}, parent, device.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return sqldb.Filled{
			Intent: ledger.Intent{Serial: issuer.SerialOf(serial), Device: "SN0000001", Subject: "CN=SN0000001", TBS: c.RawTBSCertificate, NotBefore: c.NotBefore, NotAfter: c.NotAfter, At: now, Requester: ledger.Requester{Kind: "certificate", Name: "0a"}},
			Issued: ledger.Issued{Serial: issuer.SerialOf(serial), DER: der},
		}
	}
	good := enrolled(keyID(&device.PublicKey))
	made, err := newTemplate(good, key)
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(90*time.Minute + 300*time.Millisecond)
	seen := map[string]bool{}
	for _, name := range []string{"SN0000002", "SN9999999"} {
		got, err := made.enroll(ledger.Epoch{Server: "s", Number: 2}, name, "0b", later)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(got.Issued.DER)
		if err != nil {
			t.Fatal(err)
		}
		public := c.PublicKey.(*ecdsa.PublicKey)
		digest := sha256.Sum256(c.RawTBSCertificate)
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], c.Signature) {
			t.Error("the signature is not the CA's")
		}
		i := got.Intent
		if c.Subject.CommonName != name || i.Device != name || i.Subject != "CN="+name || issuer.SerialOf(c.SerialNumber) != i.Serial || i.Serial != got.Issued.Serial || i.Serial == good.Intent.Serial ||
			!bytes.Equal(c.RawTBSCertificate, i.TBS) || i.Key != sha256.Sum256(c.RawSubjectPublicKeyInfo) || !bytes.Equal(c.SubjectKeyId, keyID(public)) || i.Requester.Name != "0b" || i.Epoch.Number != 2 {
			t.Errorf("%+v of %s", i, name)
		}
		if !c.NotBefore.Equal(i.NotBefore) || !c.NotAfter.Equal(i.NotAfter) || !c.NotBefore.Equal(now.Add(89*time.Minute)) || c.NotAfter.Sub(c.NotBefore) != good.Intent.NotAfter.Sub(good.Intent.NotBefore) {
			t.Errorf("from %v until %v", c.NotBefore, c.NotAfter)
		}
		if len(c.Raw) < len(good.Issued.DER)-3 || len(c.Raw) > len(good.Issued.DER)+3 {
			t.Errorf("%d bytes of %d", len(c.Raw), len(good.Issued.DER))
		}
		for _, part := range []string{string(i.Serial), string(c.SubjectKeyId)} {
			if seen[part] {
				t.Errorf("%x twice", part)
			}
			seen[part] = true
		}
	}
	if _, err := made.enroll(ledger.Epoch{}, "SN1", "", later); err == nil {
		t.Error("a shorter name was taken")
	}
	bad := enrolled([]byte{1, 2, 3, 4})
	if _, err := newTemplate(bad, key); err == nil || !strings.Contains(err.Error(), "key identifier") {
		t.Errorf("with a key identifier that is no hash: %v", err)
	}
	bad = good
	bad.Intent.TBS = bad.Intent.TBS[1:]
	if _, err := newTemplate(bad, key); err == nil {
		t.Error("with another intent")
	}
	bad = good
	bad.Intent.Device = "SN0000007"
	if _, err := newTemplate(bad, key); err == nil {
		t.Error("with another name")
	}
	bad.Issued.DER = nil
	if _, err := newTemplate(bad, key); err == nil {
		t.Error("without a certificate")
	}
}
