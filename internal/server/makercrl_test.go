package server

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
	"mintmark/issuer/est"
)

// maker is a device maker that keeps its CA with openssl: a root, an issuing CA
// and two devices.
type maker struct {
	t             *testing.T
	dir           string
	root, issuing *x509.Certificate
	first, second *x509.Certificate
	rootCRL, crl  string // files
}

const makerConfig = `
[ca]
default_ca = ca
dir = DIR
database = DIR/NAME.txt
serial = DIR/NAME.serial
crlnumber = DIR/NAME.number
new_certs_dir = DIR
certificate = DIR/NAME.pem
private_key = DIR/NAME.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
[sub]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[nocrl]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[device]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth
crlDistributionPoints = URI:http://maker.example/1.crl
[crl]
authorityKeyIdentifier = keyid
[delta]
2.5.29.27 = critical,ASN1:INTEGER:1
[unknown]
1.2.3.4.5 = critical,ASN1:NULL
[users]
issuingDistributionPoint = critical,@users_idp
[users_idp]
onlyuser = TRUE
[cas]
issuingDistributionPoint = critical,@cas_idp
[cas_idp]
onlyCA = TRUE
[attributes]
issuingDistributionPoint = critical,@attributes_idp
[attributes_idp]
onlyAA = TRUE
[indirect]
issuingDistributionPoint = critical,@indirect_idp
[indirect_idp]
indirectCRL = TRUE
[reasons]
issuingDistributionPoint = critical,@reasons_idp
[reasons_idp]
onlysomereasons = keyCompromise
[point]
issuingDistributionPoint = critical,@point_idp
[point_idp]
fullname = URI:http://maker.example/1.crl
[otherpoint]
issuingDistributionPoint = critical,@otherpoint_idp
[otherpoint_idp]
fullname = URI:http://maker.example/2.crl
`

func newMaker(t *testing.T) *maker {
	m := &maker{t: t, dir: t.TempDir()}
	m.config("root")
	m.config("issuing")
	m.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=Maker Root", "-keyout", m.path("root.key"), "-out", m.path("root.pem"))
	m.issue("root", "sub", "issuing", "Maker Issuing")
	m.issue("issuing", "device", "first", "first")
	m.issue("issuing", "device", "second", "second")
	m.root, m.issuing, m.first, m.second = m.read("root"), m.read("issuing"), m.read("first"), m.read("second")
	m.rootCRL, m.crl = m.path("root.crl"), m.path("issuing.crl")
	m.sign("root", "crl", m.rootCRL)
	m.sign("issuing", "crl", m.crl)
	return m
}

func (m *maker) path(name string) string { return filepath.Join(m.dir, name) }

func (m *maker) openssl(args ...string) { m.t.Helper(); pkitest.OpenSSL(m.t, args...) }

func (m *maker) config(name string) {
	m.t.Helper()
	text := strings.NewReplacer("DIR", m.dir, "NAME", name).Replace(makerConfig)
	for file, data := range map[string]string{".cnf": text, ".txt": "", ".serial": "10\n", ".number": "01\n"} {
		if err := os.WriteFile(m.path(name+file), []byte(data), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *maker) issue(by, section, file, name string) {
	m.t.Helper()
	m.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN="+name, "-keyout", m.path(file+".key"), "-out", m.path(file+".csr"))
	m.openssl("ca", "-batch", "-notext", "-config", m.path(by+".cnf"), "-extensions", section, "-in", m.path(file+".csr"), "-out", m.path(file+".pem"))
}

func (m *maker) read(name string) *x509.Certificate {
	m.t.Helper()
	block, _ := pem.Decode(pkitest.ReadFile(m.t, m.path(name+".pem")))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *maker) revoke(by, name string) {
	m.t.Helper()
	m.openssl("ca", "-config", m.path(by+".cnf"), "-revoke", m.path(name+".pem"))
}

// sign writes the next CRL, in place of the one that was there.
func (m *maker) sign(by, section, file string) {
	m.t.Helper()
	m.openssl("ca", "-config", m.path(by+".cnf"), "-gencrl", "-crlexts", section, "-out", file+".new")
	if err := os.Rename(file+".new", file); err != nil {
		m.t.Fatal(err)
	}
}

func (m *maker) chain(device *x509.Certificate) []*x509.Certificate {
	return []*x509.Certificate{device, m.issuing, m.root}
}

// open reads the files and looks for a change at each question.
func (m *maker) open(files ...string) *makerCRLs {
	crls := newMakerCRLs(files, slog.New(slog.DiscardHandler))
	crls.look = 0
	return crls
}

func TestMakerCRL(t *testing.T) {
	m := newMaker(t)
	crls := m.open(m.rootCRL, m.crl)
	now := time.Now()
	unknown := func(what string, path []*x509.Certificate, at time.Time, want string) {
		t.Helper()
		if err := crls.revoked(path, at); err == nil || errors.Is(err, est.ErrRevokedByMaker) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	for _, device := range []*x509.Certificate{m.first, m.second} {
		if err := crls.revoked(m.chain(device), now); err != nil {
			t.Errorf("nothing is revoked: %v", err)
		}
	}
	unknown("after its nextUpdate", m.chain(m.first), now.Add(8*24*time.Hour), "out of date")
	unknown("before its thisUpdate", m.chain(m.first), now.Add(-time.Hour), "from the future")

	m.revoke("issuing", "first")
	m.sign("issuing", "crl", m.crl)
	if err := crls.revoked(m.chain(m.first), now.Add(time.Second)); !errors.Is(err, est.ErrRevokedByMaker) {
		t.Errorf("a revoked device: %v", err)
	}
	if err := crls.revoked(m.chain(m.second), now.Add(time.Second)); err != nil {
		t.Errorf("the other device: %v", err)
	}

	// DER in place of PEM.
	m.openssl("crl", "-in", m.crl, "-outform", "DER", "-out", m.crl+".der")
	if err := os.Rename(m.crl+".der", m.crl); err != nil {
		t.Fatal(err)
	}
	if err := crls.revoked(m.chain(m.first), now.Add(time.Second)); !errors.Is(err, est.ErrRevokedByMaker) {
		t.Errorf("a revoked device, in DER: %v", err)
	}

	// What is damaged, or gone, counts for nothing, and neither does what it said before.
	good := pkitest.ReadFile(t, m.crl)
	if err := os.WriteFile(m.crl, good[:len(good)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	unknown("a CRL that is cut off", m.chain(m.second), now, "there is none")
	damaged := append([]byte(nil), good...)
	damaged[len(damaged)-5] ^= 1
	if err := os.WriteFile(m.crl, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	unknown("a CRL with a wrong signature", m.chain(m.second), now.Add(time.Second), "signature")
	os.Remove(m.crl)
	unknown("a CRL that is gone", m.chain(m.second), now, "there is none")
	if err := os.WriteFile(m.crl, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := crls.revoked(m.chain(m.second), now.Add(time.Second)); err != nil {
		t.Errorf("a CRL that came back: %v", err)
	}

	// A revoked CA revokes what is below it.
	m.revoke("root", "issuing")
	m.sign("root", "crl", m.rootCRL)
	if err := crls.revoked(m.chain(m.second), now.Add(time.Second)); !errors.Is(err, est.ErrRevokedByMaker) {
		t.Errorf("a device of a revoked CA: %v", err)
	}
	crls = m.open(m.crl)
	unknown("without the root's CRL", m.chain(m.second), now.Add(time.Second), "there is none")
}

// TestMakerCRLScope: what leaves out a part of the revocations does not count.
func TestMakerCRLScope(t *testing.T) {
	m := newMaker(t)
	m.revoke("issuing", "first")
	at := time.Now().Add(time.Minute)
	for section, want := range map[string]string{
		"crl": "", "users": "", "point": "",
		"otherpoint": "another distribution point", "cas": "CA certificates only",
		"delta": "there is none", "unknown": "there is none", "indirect": "there is none", "reasons": "there is none", "attributes": "there is none",
	} {
		m.sign("issuing", section, m.crl)
		crls := m.open(m.rootCRL, m.crl)
		err := crls.revoked(m.chain(m.second), at)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", section, err)
		case want != "" && (err == nil || errors.Is(err, est.ErrRevokedByMaker) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", section, err, want)
		case want == "" && !errors.Is(crls.revoked(m.chain(m.first), at), est.ErrRevokedByMaker):
			t.Errorf("%s: a revoked device is taken", section)
		}
	}
	// The CA's own CRL is about users only, and the CA is none.
	m.sign("issuing", "crl", m.crl)
	m.sign("root", "users", m.rootCRL)
	if err := m.open(m.rootCRL, m.crl).revoked(m.chain(m.second), at); err == nil || !strings.Contains(err.Error(), "end-entity") {
		t.Errorf("a CRL about users for a CA: %v", err)
	}
}

// TestMakerCRLForeign: a CRL counts by its signature and not by its name, and not
// when its CA may not sign CRLs.
func TestMakerCRLForeign(t *testing.T) {
	m, other := newMaker(t), newMaker(t)
	at := time.Now().Add(time.Minute)
	crls := m.open(m.rootCRL, other.crl)
	if err := crls.revoked(m.chain(m.first), at); err == nil || !strings.Contains(err.Error(), "no CRL of") {
		t.Errorf("another CA of the same name: %v", err)
	}
	// Beside the right one it does no harm, and no good.
	other.revoke("issuing", "first")
	other.sign("issuing", "crl", other.crl)
	if err := m.open(m.rootCRL, other.crl, m.crl).revoked(m.chain(m.first), at); err != nil {
		t.Errorf("a foreign CRL beside the right one: %v", err)
	}
	m.issue("root", "nocrl", "issuing", "Maker Issuing") // the same name, another key
	m.sign("issuing", "crl", m.crl)
	m.issuing = m.read("issuing")
	m.issue("issuing", "device", "first", "first")
	if err := m.open(m.rootCRL, m.crl).revoked(m.chain(m.read("first")), at); err == nil || !strings.Contains(err.Error(), "may not sign CRLs") {
		t.Errorf("a CA without cRLSign: %v", err)
	}
}

func TestMakerCRLFiles(t *testing.T) {
	m := newMaker(t)
	pems := pkitest.ReadFile(t, m.crl)
	for name, data := range map[string][]byte{
		"two in one file": append(append([]byte(nil), pems...), pems...),
		"a certificate":   pkitest.ReadFile(t, m.path("root.pem")),
		"too large":       make([]byte, maxCRL+1),
		"nothing":         nil,
	} {
		if _, err := readCRL(pkitest.WriteFile(t, "x.crl", data)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := readCRL(t.TempDir()); err == nil {
		t.Error("a directory: taken")
	}
}

func FuzzIDP(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0x81, 0x01, 0xff})
	f.Add([]byte{0x30, 0x03, 0x84, 0x01, 0xff})
	f.Add([]byte("\x30\x0a\xa0\x08\xa0\x06\x86\x04http"))
	f.Fuzz(func(t *testing.T, der []byte) {
		s, err := parseIDP(der)
		if err != nil && fmt.Sprint(s) != fmt.Sprint(crlScope{}) {
			t.Errorf("a scope beside the error: %v", s)
		}
		// Indirect CRLs, and those for some reasons, have these tags.
		if err == nil && len(der) > 4 && der[1] < 0x80 && (der[2] == 0x83 || der[2] == 0x84 || der[2] == 0x85) {
			t.Errorf("%x is taken", der)
		}
	})
}
