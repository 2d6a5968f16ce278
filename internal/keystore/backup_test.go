package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mintmark/internal/pkitest"
)

const backupWords = "a passphrase of its own"

var backupTime = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

// savedFactory is a state directory with three keys, and a backup of them.
func savedFactory(t *testing.T) (dir, file string, s *Store) {
	t.Helper()
	dir = t.TempDir()
	s = open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	for name, alg := range map[string]string{"keys/root.pem": "P-384", "keys/line/issuing.pem": "P-256"} {
		if _, _, err := s.Create(background, "softkms:path="+name, alg); err != nil {
			t.Fatal(err)
		}
	}
	skey, _, err := note.GenerateKey(nil, "factory.issuance-log")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, headsKey), []byte(skey+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	b, err := s.Backup(background, backupTime)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "keys.backup")
	if err := b.WriteFile(background, file, []byte(backupWords)); err != nil {
		t.Fatal(err)
	}
	return dir, file, s
}

// sampleBackup is a backup of three keys, opened, without a state directory.
func sampleBackup(t *testing.T) *Backup {
	t.Helper()
	b := &Backup{Made: backupTime}
	for _, k := range []struct {
		file, name string
		key        crypto.Signer
	}{
		{"keys/line/issuing.pem", "", pkitest.Key(t, "P-256")},
		{"keys/root.pem", "", pkitest.Key(t, "RSA-2048")},
		{headsKey, "factory.issuance-log", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))},
	} {
		saved, err := newSavedKey(k.file, k.name, k.key)
		if err != nil {
			t.Fatal(err)
		}
		if err := saved.seal([]byte(backupWords)); err != nil {
			t.Fatal(err)
		}
		b.Keys = append(b.Keys, saved)
	}
	return b
}

// opened reads a backup and opens it.
func opened(t *testing.T, file string) *Backup {
	t.Helper()
	b, err := ReadBackup(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Open(background, []byte(backupWords)); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBackup(t *testing.T) {
	dir, file, s := savedFactory(t)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("the backup has mode %v, %v", info.Mode(), err)
	}
	b := opened(t, file)
	var got []string
	for _, k := range b.Keys {
		got = append(got, k.File+" "+k.Algorithm+" "+k.Name)
	}
	if want := "[keys/line/issuing.pem P-256  keys/root.pem P-384  secrets/audit-key Ed25519 factory.issuance-log]"; fmt.Sprint(got) != want {
		t.Errorf("the backup holds %v", got)
	}
	if !b.Made.Equal(backupTime) {
		t.Errorf("made at %v", b.Made)
	}

	// openssl is the judge of each block, and of what is said of it.
	text := pkitest.ReadFile(t, file)
	pass := pkitest.WriteFile(t, "pass", []byte(backupWords))
	rest := text
	for _, k := range b.Keys {
		block, after := pem.Decode(rest)
		if block == nil {
			t.Fatalf("no block of %s", k.File)
		}
		rest = after
		one := pkitest.WriteFile(t, "block.pem", pem.EncodeToMemory(block))
		public := pkitest.OpenSSL(t, "pkey", "-in", one, "-passin", "file:"+pass, "-pubout")
		der, _ := pem.Decode([]byte(public))
		if der == nil || sha256.Sum256(der.Bytes) != k.SPKI {
			t.Errorf("openssl finds another key in the block of %s:\n%s", k.File, public)
		}
		pkitest.OpenSSLFails(t, "pkey", "-in", one, "-passin", "pass:"+passphrase, "-pubout")
	}
	for _, secret := range []string{backupWords, passphrase, "PRIVATE+KEY"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the backup holds %q", secret)
		}
	}

	// Into an empty directory, under another passphrase.
	other := t.TempDir()
	restored := open(t, Config{Dir: other, Passphrase: words("another passphrase")})
	for _, k := range b.Keys {
		written, err := restored.Restore(background, k)
		if !written || err != nil {
			t.Fatalf("%s: %v, %v", k.File, written, err)
		}
		if written, err := restored.Restore(background, k); written || err != nil {
			t.Errorf("%s again: %v, %v", k.File, written, err)
		}
	}
	for _, uri := range []string{"softkms:path=keys/root.pem", "softkms:path=keys/line/issuing.pem"} {
		was, err := s.Signer(background, uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		is, err := restored.Signer(background, uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, is, was.Public())
	}
	was, is := pkitest.ReadFile(t, filepath.Join(dir, headsKey)), pkitest.ReadFile(t, filepath.Join(other, headsKey))
	if !bytes.Equal(was, is) {
		t.Error("the key that signs heads came back as another text")
	}
	for name, mode := range map[string]os.FileMode{"keys": 0o700, "keys/line": 0o700, "keys/root.pem": 0o600, headsKey: 0o400} {
		if info, err := os.Stat(filepath.Join(other, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(other, "keys", ".new-key-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRestoreOverwritesNothing: where another key is, or something that does not open,
// it stays.
func TestRestoreOverwritesNothing(t *testing.T) {
	b := sampleBackup(t)
	key := b.Keys[0] // keys/line/issuing.pem
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	if _, _, err := s.Create(background, "softkms:path="+key.File, "P-256"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, key.File)
	before := pkitest.ReadFile(t, path)
	if _, err := s.Restore(background, key); !errors.Is(err, ErrOtherKey) {
		t.Errorf("over another key: %v", err)
	}
	if !bytes.Equal(before, pkitest.ReadFile(t, path)) {
		t.Error("the other key was overwritten")
	}
	if err := os.WriteFile(path, []byte("something"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restore(background, key); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("over something else: %v", err)
	}
	if string(pkitest.ReadFile(t, path)) != "something" {
		t.Error("it was overwritten")
	}
}

// TestRestoreStaysInside: neither a name in a backup nor a link in the directory of
// keys leads out of it.
func TestRestoreStaysInside(t *testing.T) {
	b := sampleBackup(t)
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	for _, name := range []string{
		"../x.pem", "keys/../../x.pem", "keys/../secrets/passphrase", "/etc/x.pem", "keys", "keys/", "keys//x.pem", "keys/./x.pem", "x.pem",
		"secrets/passphrase", "secrets/audit-key/x", "keys/.hidden", `keys\x.pem`, "keys/a\nb", "keys/" + strings.Repeat("x", 300),
	} {
		k := *b.Keys[0]
		k.File = name
		if written, err := s.Restore(background, &k); written || err == nil {
			t.Errorf("%q was restored", name)
		}
		// Nor is it read from a file that says so.
		changed := &Backup{Made: b.Made, Keys: []*SavedKey{&k}}
		if _, err := parseBackup(changed.encode()); err == nil {
			t.Errorf("%q was read", name)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "keys", "line")); err != nil {
		t.Fatal(err)
	}
	if written, err := s.Restore(background, b.Keys[0]); written || err == nil {
		t.Errorf("through a link: %v, %v", written, err)
	}
	if err := os.Symlink(filepath.Join(outside, "root.pem"), filepath.Join(dir, "keys", "root.pem")); err != nil {
		t.Fatal(err)
	}
	if written, err := s.Restore(background, b.Keys[1]); written || err == nil {
		t.Errorf("onto a link: %v, %v", written, err)
	}
	if found, err := os.ReadDir(outside); err != nil || len(found) > 0 {
		t.Errorf("outside: %v, %v", found, err)
	}
	if _, err := s.Backup(background, backupTime); err == nil {
		t.Error("a backup follows a link out of the directory")
	}
}

func TestBackupRefusals(t *testing.T) {
	b := sampleBackup(t)
	refused := func(what string, err error, words string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", what, err, words)
		}
		if err != nil && (strings.Contains(err.Error(), backupWords) || strings.Contains(err.Error(), passphrase)) {
			t.Errorf("%s: the error holds a passphrase: %v", what, err)
		}
	}
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file that exists", b.WriteFile(background, taken, []byte(backupWords)), "already")
	refused("a short passphrase", b.WriteFile(background, filepath.Join(dir, "x"), []byte("äöüßäöüß123")), "at least 12 characters")
	refused("another passphrase", b.Open(background, []byte("some other passphrase")), ErrPassphrase.Error())
	ended, end := context.WithCancel(background)
	end()
	refused("a person who has left", b.WriteFile(ended, filepath.Join(dir, "x"), []byte(backupWords)), "canceled")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	s := open(t, Config{Dir: dir, Passphrase: words(passphrase)})
	_, err := s.Restore(background, &SavedKey{File: "keys/x.pem"})
	refused("a key that was not opened", err, "not opened")
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	none := open(t, Config{Dir: t.TempDir(), Passphrase: words(passphrase)})
	_, err = none.Backup(background, backupTime)
	refused("no keys", err, "no key file")

	// A file beside the keys that does not open: a backup without it would pass for whole.
	stray := filepath.Join(dir, "keys", "stray.pem")
	if err := os.WriteFile(stray, pkitest.PEM("PRIVATE KEY", []byte("x")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Backup(background, backupTime)
	refused("a key that is not encrypted", err, "is not encrypted")
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys", "stray\n.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Backup(background, backupTime)
	refused("a name that cannot stand in a backup", err, "cannot stand in a backup")
}
