package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// statementTitle is the first line of every statement: what is signed under it
// cannot be taken for anything else.
const statementTitle = "mintmark approval, version 1"

// Statement is what a second officer signs: all of what will be done, by whom it
// was proposed and until when it holds. It is text, one field a line, with the
// plan behind a blank line; two different approvals never have the same one.
func Statement(a ledger.Approval) []byte {
	var b strings.Builder
	fmt.Fprintln(&b, statementTitle)
	for _, field := range [][2]string{
		{"id", a.ID},
		{"operation", a.Operation},
		{"proposer", a.Proposer},
		{"expires", a.ExpiresAt.UTC().Format(time.RFC3339Nano)},
		{"plan-sha256", fmt.Sprintf("%x", sha256.Sum256(a.Plan))},
		{"words", a.Words},
	} {
		fmt.Fprintf(&b, "%s: %s\n", field[0], escape(field[1]))
	}
	fmt.Fprintf(&b, "\n%s\n", a.Plan)
	return []byte(b.String())
}

// StatementOf reports whether a text begins as the statement of the approval
// with that ID does, for who is about to sign it.
func StatementOf(text, id string) bool {
	return strings.HasPrefix(text, statementTitle+"\nid: "+escape(id)+"\noperation: ")
}

// escape keeps a field on its line and its reader's terminal in order. No two
// texts become the same.
func escape(text string) string {
	var b strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case r == '\\':
			b.WriteString(`\\`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		text = text[size:]
	}
	return b.String()
}

// ParseKey reads a principal's public key, the DER of a SubjectPublicKeyInfo:
// ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits.
func ParseKey(der []byte) (crypto.PublicKey, error) {
	if len(der) == 0 {
		return nil, errors.New("there is no key")
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("parsing a public key: %w", err)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return nil, fmt.Errorf("a key on %s is too weak: use P-256 or P-384", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return nil, fmt.Errorf("an RSA key of %d bits is not between 2048 and 8192", bits)
		}
	default:
		return nil, fmt.Errorf("a key of type %T cannot sign approvals: use ECDSA, Ed25519 or RSA", key)
	}
	return key, nil
}

// Sign signs a statement as Verify wants it: over its SHA-256, as openssl dgst
// -sha256 -sign does, or over the statement itself with Ed25519.
func Sign(signer crypto.Signer, statement []byte) ([]byte, error) {
	message, hash := digest(signer.Public(), statement)
	signature, err := signer.Sign(rand.Reader, message, hash)
	if err != nil {
		return nil, fmt.Errorf("signing the statement: %w", err)
	}
	return signature, nil
}

// Verify checks the signature of a statement.
func Verify(public crypto.PublicKey, statement, signature []byte) error {
	message, _ := digest(public, statement)
	ok := false
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, message, signature)
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, message, signature)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(key, crypto.SHA256, message, signature) == nil
	}
	if !ok {
		return errors.New("the signature is not one over this statement by this key")
	}
	return nil
}

func digest(public crypto.PublicKey, statement []byte) ([]byte, crypto.Hash) {
	if _, ok := public.(ed25519.PublicKey); ok {
		return statement, 0
	}
	sum := sha256.Sum256(statement)
	return sum[:], crypto.SHA256
}
