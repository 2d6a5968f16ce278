package keystore

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"mintmark/internal/pkitest"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

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
	asInProduction(t)
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
