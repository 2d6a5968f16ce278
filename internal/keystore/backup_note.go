package keystore

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The key that signs heads of the issuance log lies in the form of signed notes
// (c2sp.org/signed-note): PRIVATE+KEY+name+hash+base64(1 || seed).

const noteKey = "PRIVATE+KEY+"

// noteEd25519 is the algorithm of a note's key.
const noteEd25519 = 1

func validNoteName(name string) bool {
	return name != "" && len(name) <= 200 && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '+' || r > '~' })
}

// parseNoteKey reads such a key. Its errors do not quote it.
func parseNoteKey(data []byte) (string, ed25519.PrivateKey, error) {
	text := string(bytes.TrimSpace(data))
	if _, err := note.NewSigner(text); err != nil {
		return "", nil, errors.New("it holds no signing key of a signed note")
	}
	parts := strings.SplitN(strings.TrimPrefix(text, noteKey), "+", 3) // base64 may hold a plus, too
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != noteEd25519 || !validNoteName(parts[0]) {
		return "", nil, errors.New("it holds no Ed25519 key")
	}
	defer clear(raw)
	return parts[0], ed25519.NewKeyFromSeed(raw[1:]), nil
}

func formatNoteKey(name string, signer crypto.Signer) ([]byte, error) {
	key, ok := signer.(ed25519.PrivateKey)
	if !ok || !validNoteName(name) {
		return nil, fmt.Errorf("a %T cannot sign heads as %q", signer, name)
	}
	// name+hash+base64(1 || public): the hash is the same in both.
	verifier, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(verifier, "+", 3)
	secret := append([]byte{noteEd25519}, key.Seed()...)
	defer clear(secret)
	return fmt.Appendf(nil, "%s%s+%s+%s\n", noteKey, name, parts[1], base64.StdEncoding.EncodeToString(secret)), nil
}
