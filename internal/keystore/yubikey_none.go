//go:build !yubikey || !cgo

package keystore

import "errors"

func (s *Store) yubiKey(*keyURI, bool) (external, error) {
	return nil, errors.New("this build has no YubiKeys of its own: build it with cgo and -tags yubikey, which needs libpcsclite, or use the YubiKey as a PKCS#11 token with libykcs11.so")
}
