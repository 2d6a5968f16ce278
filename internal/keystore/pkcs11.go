package keystore

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mintmark/internal/keystore/token"
)

// inToken lists the attributes of a pkcs11: URI (RFC 7512, Section 2.3) that are
// understood. One that is not could make it another key that is meant.
var inToken = []string{"module-path", "token", "serial", "slot-id", "object", "id", "type", "pin-source"}

// token returns what a pkcs11: URI says of the token, and refuses what is not
// understood and what must not be in a URI.
func (u *keyURI) token() (tokenName, error) {
	var err error
	var names []string
	mapAttributes(u.raw, func(name, attribute string) (string, bool) {
		switch {
		case err != nil:
		case strings.EqualFold(name, "pin-value"):
			err = errors.New("the URI has a PIN in it, and a PIN in a URI ends in logs and process lists: give a file with pin-source=, or configure the token")
		case !slices.Contains(inToken, name):
			err = fmt.Errorf("the attribute %q of the URI is not understood: known are %s", short(name), strings.Join(inToken, ", "))
		case slices.Contains(names, name):
			err = fmt.Errorf("the URI has the attribute %q twice", name)
		}
		names = append(names, name)
		return attribute, true
	})
	if err != nil {
		return tokenName{}, err
	}
	n := tokenName{module: u.Get("module-path"), label: u.Get("token"), serial: u.Get("serial"), slot: u.Get("slot-id")}
	if n.module != "" && !filepath.IsAbs(n.module) {
		return tokenName{}, fmt.Errorf("the module %q is no absolute path", n.module)
	}
	n.module = cleanPath(n.module)
	if n.slot != "" {
		number, err := strconv.ParseUint(n.slot, 10, 32)
		if err != nil {
			return tokenName{}, fmt.Errorf("slot-id=%q is no number of a slot", n.slot)
		}
		n.number, n.slot = uint(number), strconv.FormatUint(number, 10)
	}
	if t := u.Get("type"); t != "" && t != "private" {
		return tokenName{}, fmt.Errorf("type=%q is not that of a key that signs: leave it out", t)
	}
	return n, nil
}

func cleanPath(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Clean(path)
}

// pinSource returns the file that the URI says the PIN is in.
func (u *keyURI) pinSource() string {
	return strings.TrimPrefix(strings.TrimPrefix(u.Get("pin-source"), "file://"), "file:")
}

// keyName is what the URI says of the key.
func (u *keyURI) keyName() token.KeyName {
	return token.KeyName{ID: u.GetEncoded("id"), Label: []byte(u.Get("object"))}
}

// openInToken opens the key want in the token of u, under whatever name it has there;
// without want the key that u names.
func (s *Store) openInToken(ctx context.Context, u *keyURI, want crypto.PublicKey) (crypto.Signer, error) {
	name := u.keyName()
	named := len(name.ID) > 0 || len(name.Label) > 0
	if !named && want == nil {
		return nil, errors.New("the URI names no key: add object= or id=")
	}
	t, err := s.tokenOf(u)
	if err != nil {
		return nil, err
	}
	name.Public = want
	signer, err := t.Signer(ctx, name, !s.cfg.AnyModule)
	if err == nil {
		return signer, nil
	}
	if want != nil && named && errors.Is(err, ErrNotFound) {
		// What is there instead says more.
		name.Public = nil
		if _, e := t.Find(ctx, name); e == nil {
			return nil, fmt.Errorf("token %q: %w", t.Name(), ErrMismatch)
		}
	}
	return nil, err
}

// createInToken makes a key in the token of u and returns the URI with the id of the
// key.
func (s *Store) createInToken(ctx context.Context, u *keyURI, alg string) (string, crypto.Signer, error) {
	name := u.keyName()
	if len(name.Label) == 0 {
		return "", nil, errors.New("the URI names no key: add object=")
	}
	if alg == "P-521" {
		return "", nil, errors.New("P-521 keys are not made in tokens, few of which have the curve: take P-256, P-384 or RSA")
	}
	t, err := s.tokenOf(u)
	if err != nil {
		return "", nil, err
	}
	final := u.raw
	if len(name.ID) == 0 {
		name.ID = newID()
		final = withID(u.raw, name.ID)
	}
	signer, err := t.Create(ctx, name, alg)
	if err != nil {
		return "", nil, err
	}
	return final, signer, nil
}

// destroyInToken destroys the key want in the token of u, if it is the one that u names.
func (s *Store) destroyInToken(ctx context.Context, u *keyURI, want crypto.PublicKey) error {
	t, err := s.tokenOf(u)
	if err != nil {
		return err
	}
	if name := u.keyName(); len(name.ID) > 0 || len(name.Label) > 0 {
		found, err := t.Find(ctx, name)
		if err != nil {
			return err
		}
		if !equal(found, want) {
			return fmt.Errorf("token %q: %w", t.Name(), ErrMismatch)
		}
	}
	return t.Destroy(ctx, token.KeyName{Public: want})
}

// newID returns a CKA_ID. Its first byte keeps go.step.sm/crypto/kms/uri from taking
// it for hexadecimal text.
func newID() []byte {
	id := make([]byte, 8)
	rand.Read(id)
	id[0] |= 0x80
	return id
}

// withID adds an id to a key URI, as RFC 7512, Section 2.3 writes it.
func withID(raw string, id []byte) string {
	path, query, hasQuery := strings.Cut(raw, "?")
	var b strings.Builder
	b.WriteString(path)
	b.WriteString(";id=")
	for _, c := range id {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	if hasQuery {
		b.WriteString("?" + query)
	}
	return b.String()
}
