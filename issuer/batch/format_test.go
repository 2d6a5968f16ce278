package batch_test

import (
	"archive/zip"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
	"mintmark/issuer/batch"
)

// customer is a self-signed certificate to encrypt for, of a fixed key on P-256.
func customer(t testing.TB) *x509.Certificate { return customerOf(t, pkitest.Key(t, "P-256")) }

func customerOf(t testing.TB, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Customer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
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

// keyFile writes a private key in PEM.
func keyFile(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pkitest.WriteFile(t, "customer.key", pkitest.PEM("PRIVATE KEY", der))
}

// TestEncrypted has OpenSSL decrypt what is for the customer, and read what is in it.
func TestEncrypted(t *testing.T) {
	pkitest.Tool(t, "openssl")
	f := newFactory(t)
	for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
		t.Run(alg, func(t *testing.T) {
			key := pkitest.Key(t, alg)
			plan := f.plan()
			plan.Unencrypted, plan.Recipient, plan.Format = false, customerOf(t, key).Raw, batch.PKCS12
			dir, b := create(t, plan, batch.Named([]string{"pump-" + strings.ToLower(alg), "valve-" + strings.ToLower(alg)}), 500)
			if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != 2 {
				t.Fatalf("%+v, %v", s, err)
			}
			at := func(name string) string { return filepath.Join(dir, batch.Delivery, name) }
			private, out := keyFile(t, key), t.TempDir()
			for _, name := range []string{"part-0001.zip", "part-0001.passwords.csv"} {
				pkitest.OpenSSL(t, "cms", "-decrypt", "-binary", "-inform", "DER", "-in", at(name+".p7m"), "-inkey", private, "-out", filepath.Join(out, name))
				if _, err := os.Stat(at(name)); !os.IsNotExist(err) {
					t.Errorf("%s is there in the clear: %v", name, err)
				}
			}
			rows := strings.Split(strings.TrimSpace(string(pkitest.ReadFile(t, filepath.Join(out, "part-0001.passwords.csv")))), "\n")
			if len(rows) != 3 || rows[0] != "device,file,password" {
				t.Fatalf("the passwords are %q", rows)
			}
			unzip(t, filepath.Join(out, "part-0001.zip"), out)
			for _, row := range rows[1:] {
				cells := strings.Split(row, ",")
				if len(cells[2]) < 26 {
					t.Errorf("password %q has fewer than 100 bits", cells[2])
				}
				text := pkitest.OpenSSL(t, "pkcs12", "-in", filepath.Join(out, cells[1]), "-passin", "pass:"+cells[2], "-nodes", "-info")
				for _, want := range []string{"BEGIN PRIVATE KEY", "CN = " + cells[0], "CN = Test Issuing"} {
					if !strings.Contains(text, want) {
						t.Errorf("%s lacks %q:\n%s", cells[1], want, text)
					}
				}
				pkitest.OpenSSLFails(t, "pkcs12", "-in", filepath.Join(out, cells[1]), "-passin", "pass:wrong", "-nodes")
			}
			for _, one := range sealedFiles(t, dir) {
				if content := string(pkitest.ReadFile(t, one)); strings.Contains(content, "PRIVATE KEY") {
					t.Errorf("%s has a private key in the clear", one)
				}
			}
		})
	}
}

// unzip writes the files of an archive into a folder.
func unzip(t *testing.T, name, into string) {
	t.Helper()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := os.CopyFS(into, z); err != nil {
		t.Fatal(err)
	}
}

// sealedFiles are all files of a batch.
func sealedFiles(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestForms makes one device in each other form.
func TestForms(t *testing.T) {
	pkitest.Tool(t, "openssl")
	f := newFactory(t)
	root := pkitest.WriteFile(t, "root.pem", pkitest.PEM("CERTIFICATE", f.root.Raw))
	for name, change := range map[string]func(*batch.Plan){
		"folder":        func(p *batch.Plan) { p.Pack = batch.Folder },
		"binary-folder": func(p *batch.Plan) { p.Format, p.Pack = batch.DER, batch.Folder },
		"lines":         func(p *batch.Plan) { p.Format, p.Pack = batch.NDJSON, "" },
		"alone":         func(p *batch.Plan) { p.Pack, p.NoChain = batch.Folder, true },
	} {
		t.Run(name, func(t *testing.T) {
			plan := f.plan()
			change(&plan)
			dir, b := create(t, plan, batch.Named([]string{name}), 500)
			if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != 1 {
				t.Fatalf("%+v, %v", s, err)
			}
			if v, err := batch.Verify(dir, f.roots(), time.Now()); err != nil || v.Devices != 1 || len(v.Unlisted) > 0 {
				t.Errorf("%+v, %v", v, err)
			}
			part := filepath.Join(dir, batch.Delivery, "part-0001")
			switch name {
			case "folder":
				pkitest.OpenSSL(t, "verify", "-CAfile", root, "-untrusted", filepath.Join(part, "folder.pem"), filepath.Join(part, "folder.pem"))
				pkitest.OpenSSL(t, "pkey", "-in", filepath.Join(part, "folder.key"), "-check", "-noout")
			case "binary-folder":
				pkitest.OpenSSL(t, "x509", "-inform", "DER", "-in", filepath.Join(part, name+".crt"), "-noout")
				pkitest.OpenSSL(t, "pkey", "-inform", "DER", "-in", filepath.Join(part, name+".key"), "-check", "-noout")
				if list, err := filepath.Glob(filepath.Join(part, "chain", "1-1-*.crt")); err != nil || len(list) != 1 {
					t.Errorf("the chain is %v, %v", list, err)
				}
			case "lines":
				text := string(pkitest.ReadFile(t, part+".ndjson"))
				if strings.Count(text, "\n") != 1 || strings.Count(text, "BEGIN CERTIFICATE") != 2 || !strings.Contains(text, "BEGIN PRIVATE KEY") {
					t.Errorf("the part is %s", text)
				}
			case "alone":
				if n := strings.Count(string(pkitest.ReadFile(t, filepath.Join(part, "alone.pem"))), "BEGIN"); n != 1 {
					t.Errorf("%d certificates", n)
				}
			}
		})
	}
}

// TestManifestSignature has OpenSSL verify what is signed, and refuse what was changed.
func TestManifestSignature(t *testing.T) {
	pkitest.Tool(t, "openssl")
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 3, 4), 2)
	if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || !s.Signed {
		t.Fatalf("%+v, %v", s, err)
	}
	at := func(name string) string { return filepath.Join(dir, batch.Delivery, name) }
	arguments := []string{"cms", "-verify", "-binary", "-inform", "DER", "-in", at(batch.SignatureFile), "-CAfile", at(batch.RootFile), "-purpose", "any", "-out", os.DevNull, "-content"}
	pkitest.OpenSSL(t, append(arguments, at(batch.ManifestFile))...)
	manifest := pkitest.ReadFile(t, at(batch.ManifestFile))
	manifest[len(manifest)-4] ^= 1
	pkitest.OpenSSLFails(t, append(arguments, pkitest.WriteFile(t, "changed", manifest))...)
	text := pkitest.OpenSSL(t, "cms", "-cmsout", "-print", "-inform", "DER", "-in", at(batch.SignatureFile))
	if strings.Contains(text, "SN-0001") {
		t.Error("the manifest is in the signature")
	}
}

// TestVerify: a delivery of which anything was changed is refused, and the words say what.
func TestVerify(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 3, 4), 2)
	if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || !s.Signed {
		t.Fatalf("%+v, %v", s, err)
	}
	delivery := filepath.Join(dir, batch.Delivery)
	for name, change := range map[string]func(t *testing.T, copied string) string{
		"a part":              flip("part-0001.zip", "part-0001.zip is not what was signed"),
		"a list":              flip("part-0002.certificates.ndjson", "part-0002.certificates.ndjson is not what was signed"),
		"the manifest":        flip(batch.ManifestFile, "the signed digest is not that of the content"),
		"the signature":       flip(batch.SignatureFile, batch.SignatureFile),
		"a part is not there": remove("part-0002.zip", "part-0002.zip is not there"),
		"a list is not there": remove("part-0001.certificates.ndjson", "part-0001.certificates.ndjson is not there"),
	} {
		t.Run(name, func(t *testing.T) {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(delivery)); err != nil {
				t.Fatal(err)
			}
			want := change(t, copied)
			if v, err := batch.Verify(copied, f.roots(), time.Now()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %+v, %v, want %q", v, err, want)
			}
		})
	}
	if _, err := batch.Verify(delivery, []*x509.Certificate{customer(t)}, time.Now()); err == nil || !strings.Contains(err.Error(), "who signed") {
		t.Errorf("under another root: %v", err)
	}
	// Years later: devices have expired, their CA has not.
	if _, err := batch.Verify(delivery, f.roots(), time.Now().AddDate(5, 0, 0)); err != nil {
		t.Errorf("in five years: %v", err)
	}
	if _, err := batch.Verify(delivery, f.roots(), time.Now().AddDate(30, 0, 0)); err == nil {
		t.Error("the CA has expired and its manifest is good")
	}
	if err := os.WriteFile(filepath.Join(delivery, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := batch.Verify(delivery, f.roots(), time.Now()); err != nil || len(v.Unlisted) != 1 || v.Unlisted[0] != "letter.txt" {
		t.Errorf("with another file: %+v, %v", v, err)
	}
}

// flip changes a byte in the middle of a file.
func flip(name, want string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		content := pkitest.ReadFile(t, filepath.Join(dir, name))
		content[len(content)/2] ^= 1
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return want
	}
}

func remove(name, want string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return want
	}
}
