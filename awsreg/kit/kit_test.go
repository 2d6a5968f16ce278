package kit_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mintmark/awsreg/kit"
)

// TestAmazonRoots compares the roots with the fingerprints in the comment.
func TestAmazonRoots(t *testing.T) {
	source, err := os.ReadFile("roots.go")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`[0-9a-f]{64}`).FindAllString(string(source), -1)
	data, err := os.ReadFile("AmazonRootCA.pem")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.CheckSignatureFrom(cert); err != nil {
			t.Errorf("%s: %v", cert.Subject, err)
		}
		sum := sha256.Sum256(block.Bytes)
		have = append(have, hex.EncodeToString(sum[:]))
	}
	if len(want) != 5 || strings.Join(have, " ") != strings.Join(want, " ") {
		t.Errorf("fingerprints %q, the comment has %q", have, want)
	}
}

// TestWrite: the kit of an account has all files, Amazon's roots, and no key.
func TestWrite(t *testing.T) {
	ca := issue(t, "Press CA", true, nil, time.Now().Add(48*time.Hour))
	own := issue(t, thing, false, ca, time.Now().Add(24*time.Hour))
	dir := filepath.Join(t.TempDir(), "kit")
	names, err := kit.Write(dir, kit.Kit{Device: "device 42", Thing: thing, Certificate: own.pem(), Chain: ca.pem(), Endpoint: "a1b2c3-ats.iot.eu-central-1.amazonaws.com"})
	if err != nil {
		t.Fatal(err)
	}
	placeholder := regexp.MustCompile(`@[A-Z_]+@`)
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key", name)
		}
		if left := placeholder.Find(data); left != nil {
			t.Errorf("%s: %s was not filled in", name, left)
		}
	}
	for _, name := range []string{"certificate.pem", "chain.pem", "certificate-and-chain.pem", "AmazonRootCA.pem", "connection.json", "README.txt",
		"mosquitto-pub.sh", "mosquitto-sub.sh", "check.sh", "publish.py", "publish.cjs", "demo_config.h", "secrets.h"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	both, _ := os.ReadFile(filepath.Join(dir, "certificate-and-chain.pem"))
	if !bytes.Equal(both, append(own.pem(), ca.pem()...)) {
		t.Errorf("certificate and chain are not in order:\n%s", both)
	}
	data, err := os.ReadFile(filepath.Join(dir, "connection.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Endpoint      string
		ClientID      string `json:"client_id"`
		CertificateID string `json:"certificate_id"`
		Ports         []struct {
			Port           int
			Protocol, ALPN string
		}
		NotAfter time.Time `json:"not_after"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(own.cert.Raw)
	if c.ClientID != thing || c.CertificateID != hex.EncodeToString(sum[:]) || len(c.Ports) != 4 || c.Ports[1].ALPN != "x-amzn-mqtt-ca" || c.Ports[1].Port != 443 || !c.NotAfter.Equal(own.cert.NotAfter) {
		t.Errorf("connection %+v", c)
	}
}

// TestRefused: what would not work, or would mean something else in a program, is
// refused, and leaves nothing behind.
func TestRefused(t *testing.T) {
	day := time.Now().Add(24 * time.Hour)
	ca := issue(t, "Press CA", true, nil, day)
	own := issue(t, thing, false, ca, day)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: marshal(t, own.key)})
	good := kit.Kit{Device: thing, Certificate: own.pem(), Chain: ca.pem(), Endpoint: "localhost:8883", Roots: ca.pem()}
	for name, c := range map[string]struct {
		change func(*kit.Kit)
		want   string
	}{
		"no endpoint":           {func(k *kit.Kit) { k.Endpoint = "" }, "no endpoint"},
		"shell in the endpoint": {func(k *kit.Kit) { k.Endpoint = "$(reboot)" }, "no host name"},
		"a URL":                 {func(k *kit.Kit) { k.Endpoint = "https://localhost" }, "endpoint"},
		"port out of range":     {func(k *kit.Kit) { k.Endpoint = "localhost:99999" }, "port"},
		"quote in the thing":    {func(k *kit.Kit) { k.Thing = `a"b` }, "thing"},
		"space in the topic":    {func(k *kit.Kit) { k.Topic = "a b" }, "topic"},
		"shell in the key":      {func(k *kit.Kit) { k.Key = "`x`" }, "key file"},
		"no device":             {func(k *kit.Kit) { k.Device = "" }, "printed"},
		"newline in the device": {func(k *kit.Kit) { k.Device, k.Thing = "a\nb", thing }, "printed"},
		"key in the PEM":        {func(k *kit.Kit) { k.Certificate = append(own.pem(), key...) }, "private key"},
		"key in the chain":      {func(k *kit.Kit) { k.Chain = append(ca.pem(), key...) }, "private key"},
		"no certificate":        {func(k *kit.Kit) { k.Certificate = nil }, "0 certificates"},
		"two certificates":      {func(k *kit.Kit) { k.Certificate = append(own.pem(), ca.pem()...) }, "2 certificates"},
		"a CA":                  {func(k *kit.Kit) { k.Certificate, k.Chain = ca.pem(), nil }, "a CA's"},
		"another chain":         {func(k *kit.Kit) { k.Chain = issue(t, "Press CA", true, nil, day).pem() }, "not signed"},
		"expired":               {func(k *kit.Kit) { k.Now = day.Add(time.Hour) }, "expired"},
		"roots without any":     {func(k *kit.Kit) { k.Roots = []byte("none") }, "no certificate"},
		"garbage in PEM": {func(k *kit.Kit) {
			k.Certificate = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}, "parsing"},
		"a request": {func(k *kit.Kit) {
			k.Certificate = bytes.ReplaceAll(own.pem(), []byte("CERTIFICATE"), []byte("CERTIFICATE REQUEST"))
		}, "holds a CERTIFICATE REQUEST"},
		"too long": {func(k *kit.Kit) { k.Chain = make([]byte, 1<<20) }, "more than"},
	} {
		k := good
		c.change(&k)
		dir := filepath.Join(t.TempDir(), "kit")
		if _, err := kit.Write(dir, k); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: a directory is left behind", name)
		}
	}
}

// TestNothingOverwritten: a directory with anything in it is left alone.
func TestNothingOverwritten(t *testing.T) {
	day := time.Now().Add(24 * time.Hour)
	own := issue(t, thing, false, issue(t, "Press CA", true, nil, day), day)
	k := kit.Kit{Device: thing, Certificate: own.pem(), Endpoint: "localhost:8883", Roots: own.pem()}
	dir := t.TempDir()
	other := filepath.Join(dir, "certificate.pem")
	if err := os.WriteFile(other, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kit.Write(dir, k); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a directory that is not empty: %v", err)
	}
	if data, _ := os.ReadFile(other); string(data) != "another's" {
		t.Errorf("certificate.pem is %q now", data)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	names, err := kit.Write(dir, k)
	if err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	for _, name := range names {
		if filepath.Base(name) == "chain.pem" {
			t.Error("there is a chain.pem without a chain")
		}
	}
}

func marshal(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// FuzzWrite: no name and no PEM gets a placeholder, a quote or a key into a kit.
func FuzzWrite(f *testing.F) {
	f.Add("press-0042", "localhost:8883", "devices/x", "device.key", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add("@KEY@", "a.example", "$(x)", "../key", []byte(nil))
	day := time.Now().Add(24 * time.Hour)
	own := issue(f, thing, false, nil, day)
	f.Fuzz(func(t *testing.T, name, endpoint, topic, key string, chain []byte) {
		dir := filepath.Join(t.TempDir(), "kit")
		names, err := kit.Write(dir, kit.Kit{Device: name, Endpoint: endpoint, Topic: topic, Key: key, Certificate: own.pem(), Chain: chain, Roots: own.pem()})
		if err != nil {
			if names != nil {
				t.Errorf("an error, and files %q", names)
			}
			return
		}
		for _, file := range names {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte("PRIVATE KEY")) {
				t.Errorf("%s holds a private key", file)
			}
		}
	})
}
