//go:build !linux || !cgo || nopkcs11

package keystore

import "errors"

var errNoPKCS11 = errors.New("this build cannot use PKCS#11 tokens, because it was made with CGO_ENABLED=0 or the tag nopkcs11: use a build with cgo, or a softkms key")
