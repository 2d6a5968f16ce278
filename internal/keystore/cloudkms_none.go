//go:build !cloudkms

package keystore

import "errors"

func (s *Store) googleKey(*keyURI, bool) (external, error) {
	return nil, errors.New("this build has no Google Cloud KMS, which makes the binary half as large again: build it with go build -tags cloudkms ./cmd/mintmark")
}
