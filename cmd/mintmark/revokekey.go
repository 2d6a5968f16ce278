package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// keyHash returns the SHA-256 of the SubjectPublicKeyInfo that a file holds: a certificate, a
// certification request or a public key, in PEM or DER. What is no file may be that hash.
func keyHash(name string) (string, error) {
	if hash, err := hex.DecodeString(name); err == nil && len(hash) == sha256.Size {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return hex.EncodeToString(hash), nil
		}
	}
	content, err := readFile(name, maxPEM)
	if err != nil {
		return "", err
	}
	spki, err := publicKeyIn(content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:]), nil
}

// publicKeyIn finds the first public key in PEM or DER: the bytes of its
// SubjectPublicKeyInfo as they stand there.
func publicKeyIn(content []byte) ([]byte, error) {
	if block, _ := pem.Decode(content); block != nil {
		content = block.Bytes
	}
	if c, err := x509.ParseCertificate(content); err == nil {
		return c.RawSubjectPublicKeyInfo, nil
	}
	if r, err := x509.ParseCertificateRequest(content); err == nil {
		return r.RawSubjectPublicKeyInfo, nil
	}
	if _, err := x509.ParsePKIXPublicKey(content); err == nil {
		return content, nil
	}
	return nil, errors.New("it holds no certificate, certification request or public key")
}
