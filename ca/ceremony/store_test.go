package ceremony

import (
	"crypto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token/child"
	"mintmark/internal/pkitest"
)

func TestMain(m *testing.M) {
	child.Main()
	keystore.SpareRounds()
	os.Exit(m.Run())
}

// firstRoot makes a root and its first CRL.
const firstRoot = head + `steps:
  - name: root
    root:
      key: $rooturi
      algorithm: $rootalg
      subject: {country: DE, organization: Mint Works, organizational_unit: Line 3, province: Hessen, locality: Kassel, common_name: First Root, serial_number: "1"}
      from: 2026-12-01T09:00:00Z
      until: 2046-12-01T09:00:00Z
      path_length: 2
      permit: {dns: [factory.example.com], ip: [10.0.0.0/8], uri: [.example.com]}
      exclude: {email: [example.org]}
      outputs: {certificate: first.pem}
  - name: first-crl
    crl:
      by: root
      number: 1
      this_update: 2026-12-01T09:00:00Z
      next_update: 2027-12-01T09:00:00Z
      outputs: {pem: first.crl.pem, der: first.crl}
`

// secondRoot, in another room, makes one that takes its place, and destroys the first.
const secondRoot = head + `authorities:
  - name: first
    certificates: {file: first.pem, sha256: ${first.pem}}
    key: $rooturi
steps:
  - name: line3
    issuing:
      by: first
      request: {file: line3.csr, sha256: ${line3.csr}}
      subject: {organization: Mint Works, common_name: Line 3}
      algorithm: P-256
      from: 2026-12-01T09:00:00Z
      until: 2036-12-01T09:00:00Z
      path_length: 0
      outputs: {certificate: line3.pem, chain: line3-chain.pem}
  - name: second
    root:
      key: $seconduri
      algorithm: $secondalg
      subject: {common_name: Second Root}
      from: 2026-12-01T09:00:00Z
      until: 2056-12-01T09:00:00Z
      outputs: {certificate: second.pem}
  - name: old-with-new
    cross:
      by: second
      of: first
      from: 2026-12-01T09:00:00Z
      until: 2046-12-01T09:00:00Z
      outputs: {certificate: old-with-new.pem, chain: old-with-new-chain.pem}
  - name: last-crl
    crl:
      by: first
      number: 2
      this_update: 2026-12-01T09:00:00Z
      next_update: 2046-12-01T09:00:00Z
      previous: {file: first.crl.pem, sha256: ${first.crl.pem}}
      outputs: {pem: last.crl.pem, der: last.crl}
  - name: farewell
    destroy: {key: $rooturi, sha256: $rootkey, confirm: destroy}
`

// twoRooms holds both ceremonies with a key store, carries what the first one made to
// the second, and has OpenSSL verify what is left.
func twoRooms(t *testing.T, store *keystore.Store, vars map[string]string) {
	t.Helper()
	r := newRoom(t)
	for name, value := range vars {
		r.vars[name] = value
	}
	cfg := r.config(t, store)
	cfg.NotFound = keystore.ErrNotFound
	first := r.hold(t, firstRoot, cfg)
	mustVerify(t, cfg.Folder, r.keysOf("alice", "bob"))
	for _, name := range []string{"first.pem", "first.crl.pem"} {
		r.file(t, name, pkitest.ReadFile(t, filepath.Join(cfg.Folder, "outputs", name)))
	}
	root := filepath.Join(cfg.Folder, "outputs", "first.pem")
	r.vars["rootkey"] = first.Steps[0].Key.SHA256
	inToken := strings.HasPrefix(vars["rooturi"], "pkcs11:")
	if made := first.Steps[0].Key.Attributes; inToken && (made["CKA_SENSITIVE"] != "true" || made["CKA_EXTRACTABLE"] != "false") || !inToken && made != nil {
		t.Errorf("the attributes of the root's key are %v", made)
	}

	cfg = r.config(t, store)
	cfg.NotFound = keystore.ErrNotFound
	cfg.Officers = map[string]crypto.Signer{"bob": r.officers["bob"], "carol": r.officers["carol"]}
	second := r.hold(t, secondRoot, cfg)
	mustVerify(t, cfg.Folder, r.keysOf("bob", "carol"))
	if last := second.Steps[len(second.Steps)-1]; last.Kind != "destroy" || last.Key.SHA256 != r.vars["rootkey"] {
		t.Errorf("the last step is %+v", last)
	}
	if _, err := store.Signer(background, r.vars["rooturi"], nil); err == nil {
		t.Error("the key of the first root is there")
	}
	out := func(name string) string { return filepath.Join(cfg.Folder, "outputs", name) }
	at := []string{"-attime", "1798000000"} // 2026-12-23
	verify := append([]string{"verify", "-x509_strict", "-check_ss_sig"}, at...)
	pkitest.OpenSSL(t, append(verify, "-CAfile", root, out("line3.pem"))...)
	pkitest.OpenSSL(t, append(verify, "-CAfile", out("second.pem"), "-untrusted", out("old-with-new.pem"), out("line3.pem"))...)
	pkitest.OpenSSL(t, append(verify, "-CAfile", root, "-crl_check", "-CRLfile", out("last.crl.pem"), out("line3.pem"))...)
	if text := pkitest.OpenSSL(t, "x509", "-in", out("old-with-new.pem"), "-noout", "-text"); !strings.Contains(text, "DNS:factory.example.com") || !strings.Contains(text, "pathlen:2") {
		t.Errorf("the cross-certificate lacks the constraints of its subject:\n%s", text)
	}
}

// TestCeremonyWithFiles keeps the keys in encrypted files.
func TestCeremonyWithFiles(t *testing.T) {
	dir := t.TempDir()
	store, err := keystore.Open(keystore.Config{Dir: dir, Passphrase: func() ([]byte, error) { return []byte("correct horse battery"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	twoRooms(t, store, map[string]string{
		"rooturi": "softkms:path=first.pem", "rootalg": "RSA-2048", "seconduri": "softkms:path=second.pem", "secondalg": "P-384",
	})
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "second.pem" {
		t.Errorf("key files that are left: %v, %v", left, err)
	}
}
