package heads

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Key signs heads.
type Key struct {
	signer note.Signer
	vkey   string
}

// Verifier is the key that auditors need, in the encoding of signed notes:
// name+hash+base64.
func (k *Key) Verifier() string { return k.vkey }

// keyName is the name under which a server's key signs.
func keyName(server string) string { return server + ".issuance-log" }

// OpenKey reads the server's audit key and makes it if there is none. A file
// that others than its owner can read is refused.
func OpenKey(path, server string) (*Key, error) {
	key, err := ReadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path, server); err != nil {
			return nil, fmt.Errorf("making the audit key: %w", err)
		}
		key, err = ReadKey(path)
	}
	if err != nil {
		return nil, err
	}
	if key.signer.Name() != keyName(server) {
		return nil, fmt.Errorf("audit key %s is %s and not server %q's: every server has a key of its own", path, key.signer.Name(), server)
	}
	return key, nil
}

// ReadKey reads an audit key; fs.ErrNotExist if there is none.
func ReadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the audit key: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxNote:
		return nil, fmt.Errorf("reading the audit key: %s is not a key file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("reading the audit key: %s can be read by others than its owner (mode %04o): run chmod 400 %s", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the audit key: %w", err)
	}
	key, err := parseKey(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("reading the audit key: %s: %w", path, err)
	}
	return key, nil
}

// parseKey reads a note's signer key. Its errors do not quote it.
func parseKey(skey string) (*Key, error) {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, errors.New("it holds no signing key of a signed note")
	}
	// PRIVATE+KEY+name+hash+base64(algorithm || seed)
	parts := strings.SplitN(skey, "+", 5) // base64 may hold a plus, too
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, errors.New("it holds no Ed25519 key")
	}
	public := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, err
	}
	return &Key{signer: signer, vkey: vkey}, nil
}

// makeKey writes a new key. The file is there whole or not at all.
func makeKey(path, server string) error {
	skey, _, err := note.GenerateKey(rand.Reader, keyName(server))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return create(path, []byte(skey+"\n"), 0o400)
}

// Verifiers reads verifier keys, one or several a text.
func Verifiers(texts ...string) (note.Verifiers, error) {
	var all []note.Verifier
	known := map[string]bool{}
	for _, text := range texts {
		for _, vkey := range strings.Fields(text) {
			if known[vkey] {
				continue // twice, it would be ambiguous
			}
			known[vkey] = true
			if strings.HasPrefix(vkey, "PRIVATE+KEY+") {
				return nil, errors.New("this is the key that signs heads, which must not leave the server: mintmark audit key prints the one to verify by")
			}
			v, err := note.NewVerifier(vkey)
			if err != nil {
				return nil, fmt.Errorf("%q is not the verifier key of a signed note: %w", vkey, err)
			}
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no key to verify heads by")
	}
	return note.VerifierList(all...), nil
}
