package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// sealedSamples are the keys of sampleBackup, encrypted: each takes 600,000 rounds.
var sealedSamples sync.Map

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
		if known, ok := sealedSamples.Load(k.file); ok {
			saved.sealed = known.([]byte)
		} else if err := saved.seal([]byte(backupWords)); err != nil {
			t.Fatal(err)
		}
		sealedSamples.Store(k.file, saved.sealed)
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

// TestBackupDamaged: a backup that was cut short, changed or put together otherwise is
// refused with words.
func TestBackupDamaged(t *testing.T) {
	text := string(sampleBackup(t).encode())
	for n := range len(text) {
		if b, err := parseBackup([]byte(text[:n])); err == nil || b != nil {
			t.Fatalf("%d of %d bytes were read", n, len(text))
		}
	}
	// rehash makes what was changed whole again, as somebody who means harm does.
	rehash := func(text string) string {
		body := text[:strings.LastIndex(text, backupEnd)]
		hash := sha256.Sum256([]byte(body))
		return body + backupEnd + hex.EncodeToString(hash[:]) + "\n"
	}
	change := func(from, to string) string {
		changed := strings.Replace(text, from, to, 1)
		if changed == text {
			t.Fatalf("%q is not in a backup", from)
		}
		return rehash(changed)
	}
	for name, c := range map[string]struct{ text, words string }{
		"empty":            {"", "no key backup"},
		"another text":     {"hello\n", "no key backup"},
		"a later version":  {change("backup v1", "backup v2"), "no key backup"},
		"no end":           {text[:strings.LastIndex(text, backupEnd)], "cut short"},
		"one letter":       {strings.Replace(text, "P-256", "P-257", 1), "damaged"},
		"one key less":     {change("keys 3", "keys 2"), "not written as mintmark writes it"},
		"one key more":     {change("keys 3", "keys 4"), "cannot be read"},
		"many keys":        {change("keys 3", "keys 100000"), "from 1 to"},
		"no time":          {change("made 2026", "made x026"), "made is no time"},
		"another field":    {change("algorithm", "algorythm"), "algorithm is missing"},
		"a short hash":     {change("spki-sha256 ", "spki-sha256 00\n"), "no SHA-256"},
		"twice":            {change("file keys/root.pem", "file keys/line/issuing.pem"), "twice"},
		"another block":    {rehash(strings.ReplaceAll(text, "ENCRYPTED PRIVATE KEY", "PRIVATE KEY")), "not followed by an encrypted private key"},
		"a name with plus": {change("name factory.", "name factory+"), "cannot sign heads"},
		"text in between":  {change("\n\nfile ", "\nremark\nfile "), "no empty line"},
		"a header":         {change("KEY-----\n", "KEY-----\nX: y\n\n"), "not written as mintmark writes it"},
		"too long":         {text + strings.Repeat(" ", maxBackup), "longer than"},
	} {
		b, err := parseBackup([]byte(c.text))
		if err == nil || b != nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
	// What is said of a key is held against the key.
	for name, changed := range map[string]string{
		"another hash":      change("spki-sha256 "+text[strings.Index(text, "spki-sha256 ")+12:][:4], "spki-sha256 0000"),
		"another algorithm": change("algorithm P-256", "algorithm P-384"),
	} {
		b, err := parseBackup([]byte(changed))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Open(background, []byte(backupWords)); err == nil || !strings.Contains(err.Error(), "was changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBackupCiphers: only what we write is decrypted, and nothing that takes hours.
func TestBackupCiphers(t *testing.T) {
	good := sampleBackup(t).Keys[0].sealed
	if err := checkSealed(good); err != nil {
		t.Fatal(err)
	}
	replaced := func(from, to []byte) []byte {
		if !bytes.Contains(good, from) {
			t.Fatalf("%x is not in it", from)
		}
		return bytes.Replace(good, from, to, 1)
	}
	rounds := []byte{0x02, 0x03, 0x09, 0x27, 0xc0} // 600,000
	for name, c := range map[string]struct {
		der   []byte
		words string
	}{
		"too many rounds": {replaced(rounds, []byte{0x02, 0x03, 0x7f, 0xff, 0xff}), "rounds of PBKDF2"},
		"no rounds":       {replaced(rounds, []byte{0x02, 0x03, 0x80, 0x00, 0x00}), "rounds of PBKDF2"},
		"HMAC-SHA-1":      {replaced([]byte{0x0d, 0x02, 0x09}, []byte{0x0d, 0x02, 0x07}), "not encrypted with PBES2"},
		"AES-128":         {replaced([]byte{0x04, 0x01, 0x2a}, []byte{0x04, 0x01, 0x02}), "not encrypted with PBES2"},
		"cut short":       {good[:len(good)-1], "no encrypted private key"},
		"more behind":     {append(bytes.Clone(good), 0), "no encrypted private key"},
		"nothing":         {nil, "no encrypted private key"},
	} {
		if err := checkSealed(c.der); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
}

func TestNoteKey(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no key": "hello", "a verifier key": "factory+50d6ee6d+ASZmfCVkrKUrT7OkkAinZ3TUBlKK0het3XzcgNW7BlNE",
	} {
		if _, _, err := parseNoteKey([]byte(text)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, name := range []string{"", "a b", "a+b", "ä", strings.Repeat("x", 300)} {
		if _, err := formatNoteKey(name, key); err == nil {
			t.Errorf("%q can sign heads", name)
		}
	}
	if _, err := formatNoteKey("factory", pkitest.Key(t, "P-256")); err == nil {
		t.Error("an EC key signs heads")
	}
}

// What parses is written again as it was.
func FuzzBackup(f *testing.F) {
	sealed := &SavedKey{signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	if err := sealed.seal([]byte(backupWords)); err != nil {
		f.Fatal(err)
	}
	b := &Backup{Made: backupTime, Keys: []*SavedKey{
		{File: "keys/a.pem", Algorithm: "P-256", sealed: sealed.sealed},
		{File: headsKey, Algorithm: "Ed25519", Name: "factory.issuance-log", sealed: sealed.sealed},
	}}
	f.Add(b.encode())
	f.Add([]byte(backupTitle + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// With the hash made right, or nothing behind it would be reached.
		if at := bytes.LastIndex(data, []byte("\n"+backupEnd)); at >= 0 {
			hash := sha256.Sum256(data[:at+1])
			data = append(bytes.Clone(data[:at+1]), backupEnd+hex.EncodeToString(hash[:])+"\n"...)
		}
		b, err := parseBackup(data)
		if err != nil {
			if b != nil {
				t.Error("a backup and an error")
			}
			return
		}
		if !bytes.Equal(b.encode(), data) {
			t.Errorf("written again as\n%s", b.encode())
		}
		for _, k := range b.Keys {
			if !filepath.IsLocal(k.File) || strings.Contains(k.File, "..") {
				t.Errorf("file %q", k.File)
			}
		}
	})
}

func FuzzNoteKey(f *testing.F) {
	skey, _, err := note.GenerateKey(nil, "factory.issuance-log")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(skey))
	f.Add([]byte("PRIVATE+KEY+a+00000000+AQ=="))
	f.Fuzz(func(t *testing.T, data []byte) {
		name, key, err := parseNoteKey(data)
		if err != nil {
			return
		}
		text, err := formatNoteKey(name, key)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		again, same, err := parseNoteKey(text)
		if err != nil || again != name || !same.Equal(key) {
			t.Errorf("read again as %q, %v", again, err)
		}
	})
}
