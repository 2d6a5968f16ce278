package ceremony

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/access"
)

// The first lines of what officers sign: what is signed under one cannot be taken
// for anything else.
const (
	statementTitle  = "mintmark ceremony, version 1"
	transcriptTitle = "mintmark ceremony transcript, version 1"
)

// statement is what officers sign before any key is used. Names and hashes have
// characters that need no escaping.
func statement(f *File, begun time.Time, officers []Present) []byte {
	var names []string
	for _, o := range officers {
		names = append(names, o.Name)
	}
	return fmt.Appendf(nil, "%s\nfile-sha256: %s\nname: %s\nbegins: %s\nofficers: %s\n",
		statementTitle, f.Hash(), f.Name, timeText(begun), strings.Join(names, ", "))
}

// closing is what officers sign when everything is done.
func closing(f *File, transcript []byte) []byte {
	return fmt.Appendf(nil, "%s\nfile-sha256: %s\nname: %s\ntranscript-sha256: %s\n",
		transcriptTitle, f.Hash(), f.Name, hexHash(transcript))
}

// signatures is the content of a .sig file.
type signatures struct {
	Signatures []signature `json:"signatures"`
}

type signature struct {
	Name      string `json:"name"`
	Key       string `json:"key"` // SHA-256 of the SubjectPublicKeyInfo
	Signature []byte `json:"signature"`
}

// sign has each officer sign a statement, and verifies what they signed with the keys
// of the file.
func sign(text []byte, present []Present, signers map[string]crypto.Signer, keys map[string]officerKey) ([]byte, error) {
	var all signatures
	for _, o := range present {
		s, err := access.Sign(signers[o.Name], text)
		if err != nil {
			return nil, fmt.Errorf("officer %q: %w", o.Name, err)
		}
		if err := access.Verify(keys[o.Name].public, text, s); err != nil {
			return nil, fmt.Errorf("officer %q: %w", o.Name, err)
		}
		all.Signatures = append(all.Signatures, signature{Name: o.Name, Key: o.Key, Signature: s})
	}
	return encode(&all)
}

// verifySignatures checks a .sig file: exactly the officers of present, in their order,
// each with the key that keys has.
func verifySignatures(data, text []byte, present []Present, keys map[string]officerKey) error {
	var all signatures
	if err := decode(data, &all); err != nil {
		return err
	}
	if len(all.Signatures) != len(present) {
		return fmt.Errorf("it has %s, and %s signed", things(len(all.Signatures), "signature"), things(len(present), "officer"))
	}
	for i, s := range all.Signatures {
		key, ok := keys[s.Name]
		switch {
		case s.Name != present[i].Name:
			return fmt.Errorf("signature %d is one of %q, not of %q", i+1, s.Name, present[i].Name)
		case !ok:
			return fmt.Errorf("%q is no officer of the file", s.Name)
		case s.Key != key.hash:
			return fmt.Errorf("officer %q signed with the key %s, not %s", s.Name, s.Key, key.hash)
		}
		if err := access.Verify(key.public, text, s.Signature); err != nil {
			return fmt.Errorf("officer %q: %w", s.Name, err)
		}
	}
	return nil
}

// present checks the officers who are present against the file, and lists them by
// name.
func (m *material) present(officers map[string]crypto.Signer) ([]Present, error) {
	var list []Present
	var errs []error
	for name, signer := range officers {
		key, ok := m.officers[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%q is no officer of the file", name))
		case signer == nil || !sameKey(signer.Public(), key.public):
			errs = append(errs, fmt.Errorf("the key of officer %q is not the one in the file (%s)", name, key.hash))
		default:
			list = append(list, Present{Name: name, Key: key.hash})
		}
	}
	slices.SortFunc(list, func(a, b Present) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return list, errors.Join(errs...)
}
