//go:build cgo && !nopkcs11

package keystore

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/ThalesGroup/crypto11"
)

// createInToken makes a key in the token of u and returns the URI with the id
// of the key.
//
// It speaks to crypto11, on which the key manager of go.step.sm/crypto is
// built, because that one gives a key too few attributes, and RSA keys the
// right to decrypt.
func (s *Store) createInToken(u *keyURI, alg string) (string, crypto.Signer, error) {
	label := u.Get("object")
	if label == "" {
		return "", nil, errors.New("the URI names no key: add object=")
	}
	if alg == "P-521" {
		return "", nil, errors.New("P-521 keys are not made in tokens, few of which have the curve: take P-256, P-384 or RSA")
	}
	// The shared login comes first: it is the one that checks the PIN.
	if _, err := s.login(u); err != nil {
		return "", nil, err
	}
	id := u.GetEncoded("id")
	final := u.raw
	if len(id) == 0 {
		id = newID()
		final = withID(u.raw, id)
	}
	if err := s.generateInToken(u, id, label, alg); err != nil {
		return "", nil, err
	}
	made, err := parseURI(final)
	if err != nil {
		return "", nil, err
	}
	signer, err := s.openInToken(made)
	if err != nil {
		return "", nil, fmt.Errorf("opening the new key: %w", err)
	}
	return final, signer, nil
}

// newID returns a CKA_ID. Its first byte keeps the library from taking it for
// hexadecimal text.
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

func (s *Store) generateInToken(u *keyURI, id []byte, label, alg string) error {
	pin, err := s.pin(u)
	if err != nil {
		return err
	}
	defer clear(pin)
	config := &crypto11.Config{
		Path:        u.Get("module-path"),
		TokenLabel:  u.Get("token"),
		TokenSerial: u.Get("serial"),
		Pin:         string(pin),
		MaxSessions: 2,
	}
	if n := u.GetInt("slot-id"); n != nil {
		slot := int(*n)
		config.SlotNumber = &slot
	}
	ctx, err := crypto11.Configure(config)
	if err != nil {
		return fmt.Errorf("opening token %q: %w", u.tokenName(), err)
	}
	defer ctx.Close()

	for _, by := range []struct {
		what      string
		id, label []byte
	}{{"label", nil, []byte(label)}, {"id", id, nil}} {
		keys, err := ctx.FindKeyPairs(by.id, by.label)
		if err != nil {
			return fmt.Errorf("looking for a key with that %s: %w", by.what, err)
		}
		if len(keys) > 0 {
			return fmt.Errorf("%w in token %q with that %s", ErrExists, u.tokenName(), by.what)
		}
	}
	public, private, err := keyAttributes(id, []byte(label), alg)
	if err != nil {
		return err
	}
	var key crypto11.Signer
	if curve, ok := curves[alg]; ok {
		key, err = ctx.GenerateECDSAKeyPairWithAttributes(public, private, curve)
	} else {
		key, err = ctx.GenerateRSAKeyPairWithAttributes(public, private, rsaBits[alg])
	}
	if err != nil {
		return fmt.Errorf("generating the key: %w", err)
	}
	if err := checkAttributes(ctx, key); err != nil {
		if e := key.Delete(); e != nil {
			err = fmt.Errorf("%w (and removing the key failed: %w)", err, e)
		}
		return err
	}
	return nil
}

// keyAttributes are those of a key that signs and does nothing else, and never
// leaves the token.
func keyAttributes(id, label []byte, alg string) (public, private crypto11.AttributeSet, err error) {
	public, err = crypto11.NewAttributeSetWithIDAndLabel(id, label)
	if err != nil {
		return nil, nil, err
	}
	private = public.Copy()
	set := func(a crypto11.AttributeSet, t crypto11.AttributeType, v bool) {
		err = errors.Join(err, a.Set(t, v))
	}
	set(public, crypto11.CkaVerify, true)
	set(public, crypto11.CkaEncrypt, false)
	set(public, crypto11.CkaWrap, false)
	set(private, crypto11.CkaPrivate, true)
	set(private, crypto11.CkaSensitive, true)
	set(private, crypto11.CkaExtractable, false)
	set(private, crypto11.CkaSign, true)
	set(private, crypto11.CkaDecrypt, false)
	set(private, crypto11.CkaUnwrap, false)
	set(private, crypto11.CkaModifiable, false)
	if strings.HasPrefix(alg, "P-") {
		set(private, crypto11.CkaDerive, false)
	}
	return public, private, err
}

// requiredAttributes is what a token must say of a new CA key.
var requiredAttributes = []struct {
	attribute crypto11.AttributeType
	name      string
	want      bool
}{
	{crypto11.CkaToken, "CKA_TOKEN", true},
	{crypto11.CkaPrivate, "CKA_PRIVATE", true},
	{crypto11.CkaSensitive, "CKA_SENSITIVE", true},
	{crypto11.CkaAlwaysSensitive, "CKA_ALWAYS_SENSITIVE", true},
	{crypto11.CkaExtractable, "CKA_EXTRACTABLE", false},
	{crypto11.CkaNeverExtractable, "CKA_NEVER_EXTRACTABLE", true},
	{crypto11.CkaLocal, "CKA_LOCAL", true},
	{crypto11.CkaSign, "CKA_SIGN", true},
	{crypto11.CkaDecrypt, "CKA_DECRYPT", false},
	{crypto11.CkaUnwrap, "CKA_UNWRAP", false},
}

// checkAttributes reads back what the token made of the attributes: some
// ignore what they do not like.
func checkAttributes(ctx *crypto11.Context, key crypto11.Signer) error {
	for _, r := range requiredAttributes {
		a, err := ctx.GetAttribute(key, r.attribute)
		if err != nil {
			return fmt.Errorf("reading %s of the new key: %w", r.name, err)
		}
		if a == nil || len(a.Value) != 1 || (a.Value[0] != 0) != r.want {
			return fmt.Errorf("the token made a key with %s other than %t, which is no key for a CA", r.name, r.want)
		}
	}
	return nil
}
