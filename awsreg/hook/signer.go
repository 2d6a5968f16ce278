package hook

import (
	"context"
	"fmt"
)

// Signer says whose the registration of a CA is. The server writes one for each
// registration of an authority that has several certificates, one under each of two
// roots: with one key they sign the same certificates, and a device may come by either.
type Signer struct {
	CertificateID string // of the CA
	Issuer        string // name of the authority, as in Entry.Issuer
}

// SignerKey is the primary key of a Signer.
func SignerKey(certificateID string) string { return "ca#" + certificateID }

// Item is what is written for a Signer.
func (s Signer) Item() Item {
	return Item{keyName: text(SignerKey(s.CertificateID)), "issuer": text(s.Issuer)}
}

// DecodeSigner reads the item of a Signer. What it accepts, Item gives back.
func DecodeSigner(item Item) (Signer, error) {
	r := reader{item: item}
	key, issuer := r.text(keyName), r.text("issuer")
	if r.err != nil {
		return Signer{}, fmt.Errorf("reading whose a CA is: %w", r.err)
	}
	if len(key) <= len(SignerKey("")) || key[:len(SignerKey(""))] != SignerKey("") || !ValidID(key[len(SignerKey("")):]) {
		return Signer{}, fmt.Errorf("reading whose a CA is: %q is no key of one", cut(key))
	}
	if issuer == "" || len(issuer) > 256 {
		return Signer{}, fmt.Errorf("reading whose a CA is: the issuer's name has %d bytes", len(issuer))
	}
	return Signer{CertificateID: key[len(SignerKey("")):], Issuer: issuer}, nil
}

// Signer implements Store.
func (t Table) Signer(ctx context.Context, caID string) (string, error) {
	item, err := t.get(ctx, SignerKey(caID))
	if item == nil || err != nil {
		return "", err
	}
	signer, err := DecodeSigner(item)
	return signer.Issuer, err
}
