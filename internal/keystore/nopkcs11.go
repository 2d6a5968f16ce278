//go:build !cgo || nopkcs11

package keystore

import (
	"crypto"
	"errors"
)

var errNoPKCS11 = errors.New("this build cannot use PKCS#11 tokens, because it was made with CGO_ENABLED=0 or the tag nopkcs11: use a build with cgo, or a softkms key")

type tokens struct{}

func (*tokens) close() error { return nil }

func (*Store) createInToken(*keyURI, string) (string, crypto.Signer, error) {
	return "", nil, errNoPKCS11
}

func (*Store) openInToken(*keyURI) (crypto.Signer, error) { return nil, errNoPKCS11 }
