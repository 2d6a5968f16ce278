package inventory

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

// maxPublicKey bounds a public key in a list, in bytes of text: RSA with 16384
// bits and PEM around it.
const maxPublicKey = 4096

// parseKeyHash reads the SHA-256 of a SubjectPublicKeyInfo, with or without
// colons between its bytes.
func parseKeyHash(text string) ([32]byte, error) {
	var sum [32]byte
	digits := text
	if len(text) == 3*len(sum)-1 {
		digits = strings.ReplaceAll(text, ":", "")
	}
	if len(digits) != 2*len(sum) {
		return sum, fmt.Errorf("must be the 64 hexadecimal digits of a SHA-256")
	}
	if _, err := hex.Decode(sum[:], []byte(digits)); err != nil {
		return [32]byte{}, fmt.Errorf("must be the 64 hexadecimal digits of a SHA-256")
	}
	// The ledger takes it for "any key".
	if sum == [32]byte{} {
		return sum, fmt.Errorf("is zero, which is no key's hash: leave it out to admit any key")
	}
	return sum, nil
}

// parsePublicKey reads a public key as PEM or as the base64 of its
// SubjectPublicKeyInfo, and returns the SHA-256 of that.
func parsePublicKey(text string) ([32]byte, error) {
	if len(text) > maxPublicKey {
		return [32]byte{}, fmt.Errorf("has %d bytes; %d are allowed", len(text), maxPublicKey)
	}
	var der []byte
	if strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN") {
		block, rest := pem.Decode([]byte(text))
		switch {
		case block == nil:
			return [32]byte{}, fmt.Errorf("is not PEM: the lines of PEM must be kept, in quotes")
		case block.Type != "PUBLIC KEY":
			return [32]byte{}, fmt.Errorf("is PEM of the type %q, not PUBLIC KEY", shorten(block.Type))
		case strings.TrimSpace(string(rest)) != "":
			return [32]byte{}, fmt.Errorf("has something behind the PEM")
		}
		der = block.Bytes
	} else {
		var err error
		if der, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return [32]byte{}, fmt.Errorf("is neither PEM nor base64")
		}
	}
	if _, err := x509.ParsePKIXPublicKey(der); err != nil {
		return [32]byte{}, fmt.Errorf("is not the SubjectPublicKeyInfo of a public key")
	}
	return sha256.Sum256(der), nil
}
