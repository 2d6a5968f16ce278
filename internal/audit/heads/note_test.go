package heads

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mintmark/internal/audit"
	"mintmark/internal/ledger"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC)

func sample(sequence int64) audit.HeadRecord {
	return audit.HeadRecord{Server: "alpha", Sequence: sequence, Position: ledger.Head{Batch: 40 + sequence, Hash: [32]byte{1, 2, 255}}, At: at}
}

func newKey(t testing.TB, server string) *Key {
	t.Helper()
	key, err := OpenKey(filepath.Join(t.TempDir(), "audit-key"), server)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verifiers(t testing.TB, keys ...*Key) note.Verifiers {
	t.Helper()
	var texts []string
	for _, key := range keys {
		texts = append(texts, key.Verifier())
	}
	v, err := Verifiers(texts...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sign(t testing.TB, r audit.HeadRecord, key *Key) []byte {
	t.Helper()
	signed, err := Sign(r, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestNote(t *testing.T) {
	key := newKey(t, "alpha")
	signed := sign(t, sample(7), key)
	want := "mintmark issuance log head v1\nserver alpha\nsequence 7\nbatch 47\nhash 0102ff" + strings.Repeat("00", 29) +
		"\ntime 2026-03-04T05:06:07.00000089Z\n\n— alpha.issuance-log "
	if !strings.HasPrefix(string(signed), want) {
		t.Errorf("note\n%s\ndoes not begin with\n%s", signed, want)
	}
	if again := sign(t, sample(7), key); !bytes.Equal(again, signed) {
		t.Error("the same head is signed with other bytes")
	}
	if got, err := Open(signed, verifiers(t, newKey(t, "beta"), key)); err != nil || got != sample(7) {
		t.Errorf("opened %+v, %v", got, err)
	}
	if by := SignedBy(signed); !strings.HasPrefix(key.Verifier(), by+"+") {
		t.Errorf("signed by %s, the key is %s", by, key.Verifier())
	}
	if _, err := Sign(audit.HeadRecord{Server: "beta", Sequence: 1}, key); err == nil {
		t.Error("signed for another server")
	}
	if _, err := Open(signed, verifiers(t, newKey(t, "alpha"))); err == nil || !strings.Contains(err.Error(), "none of the given keys") {
		t.Errorf("another key: %v", err)
	}
}

// Every byte counts: what is not what Sign writes is not a head, and neither is
// a note about something else by the same key.
func TestNoteHasOneSpelling(t *testing.T) {
	key, other := newKey(t, "alpha"), newKey(t, "alpha")
	signed := sign(t, sample(7), key)
	v := verifiers(t, key, other)
	for i := range signed {
		for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
			c := bytes.Clone(signed)
			c[i] ^= bit
			if r, err := Open(c, v); err == nil {
				t.Fatalf("byte %d changed: %+v", i, r)
			}
		}
	}
	signText := func(text string, by ...*Key) []byte {
		var signers []note.Signer
		for _, k := range by {
			signers = append(signers, k.signer)
		}
		b, err := note.Sign(&note.Note{Text: text}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := text(sample(7))
	if _, err := Open(signText(good, key), v); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"two signatures": signText(good, key, other),
		"another title":  signText(strings.Replace(good, "head v1", "head v2", 1), key),
		"another server": signText(strings.Replace(good, "server alpha", "server beta", 1), key),
		"leading zero":   signText(strings.Replace(good, "sequence 7", "sequence 07", 1), key),
		"plus":           signText(strings.Replace(good, "sequence 7", "sequence +7", 1), key),
		"capitals":       signText(strings.Replace(good, "0102ff", "0102FF", 1), key),
		"short hash":     signText(strings.Replace(good, "0102ff", "0102", 1), key),
		"local time":     signText(strings.Replace(good, "05:06:07.00000089Z", "06:06:07.00000089+01:00", 1), key),
		"more lines":     signText(good+"more\n", key),
		"fewer lines":    signText(good[:strings.Index(good, "time")], key),
		"order of lines": signText(strings.Replace(good, "sequence 7\nbatch 47", "batch 47\nsequence 7", 1), key),
		"sequence 0":     signText(strings.Replace(good, "sequence 7", "sequence 0", 1), key),
		"too long":       append(bytes.Clone(signed), make([]byte, maxNote)...),
		"nothing":        nil,
	} {
		if r, err := Open(bad, v); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestFileName(t *testing.T) {
	for _, sequence := range []int64{1, 99, 1 << 60} {
		if server, n, ok := parseName(FileName("a-7.b", sequence)); !ok || server != "a-7.b" || n != sequence {
			t.Errorf("%s: %q, %d, %v", FileName("a-7.b", sequence), server, n, ok)
		}
	}
	for _, name := range []string{
		"alpha-1.head", "alpha-0000000000000000.head", "alpha-000000000000000x.head", "-0000000000000001.head", "alpha0000000000000001.head",
		"alpha-0000000000000001.head.new", "alpha-00000000000000001.head", ".head", "alpha--000000000000001.head", "alpha-+000000000000001.head",
	} {
		if server, n, ok := parseName(name); ok {
			t.Errorf("%s is head %d of %q", name, n, server)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets", "audit-key")
	key, err := OpenKey(path, "alpha")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := OpenKey(path, "alpha")
	if err != nil || again.Verifier() != key.Verifier() || !strings.HasPrefix(key.Verifier(), "alpha.issuance-log+") {
		t.Errorf("read again: %v, %v", again, err)
	}
	if _, err := OpenKey(path, "beta"); err == nil || !strings.Contains(err.Error(), "a key of its own") {
		t.Errorf("another server's: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verifiers(string(content)); err == nil || strings.Contains(err.Error(), strings.TrimSpace(string(content))) {
		t.Errorf("a signing key to verify by: %v", err)
	}
	os.Chmod(path, 0o440)
	if _, err := OpenKey(path, "alpha"); err == nil || !strings.Contains(err.Error(), "chmod 400") {
		t.Errorf("others can read it: %v", err)
	}
	for name, bad := range map[string]string{"empty": "", "verifier": key.Verifier(), "cut": string(content[:len(content)-9])} {
		os.Remove(path)
		if err := os.WriteFile(path, []byte(bad), 0o400); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKey(path, "alpha")
		if err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// There are keys whose base64 holds the character that separates its fields.
func TestKeyWithPlus(t *testing.T) {
	for range 200 {
		skey, vkey, err := note.GenerateKey(rand.Reader, "alpha.issuance-log")
		if err != nil {
			t.Fatal(err)
		}
		key, err := parseKey(skey)
		if err != nil || key.Verifier() != vkey {
			t.Fatalf("%v, %v, want %s", key, err, vkey)
		}
	}
}

func FuzzOpen(f *testing.F) {
	// The same key every time, or seeds would be of no use.
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	vkey, err := note.NewEd25519VerifierKey(keyName("alpha"), ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		f.Fatal(err)
	}
	key, err := parseKey("PRIVATE+KEY+" + vkey[:strings.LastIndex(vkey[:len(keyName("alpha"))+10], "+")] + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sign(f, sample(7), key))
	f.Add(sign(f, sample(1), key))
	v := verifiers(f, key)
	f.Fuzz(func(t *testing.T, signed []byte) {
		r, err := Open(signed, v)
		if err != nil {
			return
		}
		if again := sign(t, r, key); !bytes.Equal(again, signed) {
			t.Fatalf("%q is signed as %q", signed, again)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add(text(sample(7)))
	f.Add(text(audit.HeadRecord{Server: "a", Sequence: 1, Position: ledger.Head{Batch: 1}}))
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseText(s)
		if err == nil && text(r) != s {
			t.Fatalf("%q became %q", s, text(r))
		}
		if err != nil && r != (audit.HeadRecord{}) {
			t.Fatal("a head beside an error")
		}
	})
}
