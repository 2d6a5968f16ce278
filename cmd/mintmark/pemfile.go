package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxPEM bounds the files that commands read.
const maxPEM = 1 << 20

// splitPEM returns the blocks of a PEM text one by one.
func splitPEM(text string) []string {
	var list []string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return list
		}
		list = append(list, string(pem.EncodeToMemory(block)))
	}
}

// writeOut writes what is public to a file, or to standard output.
func (a *app) writeOut(file string, content []byte) error {
	if file == "" {
		_, err := a.out.Write(content)
		return err
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(file, content, 0o644) // a device or a pipe
	}
	return replaceFile(file, content, 0o644)
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}

// newKey makes a private key of a device.
func newKey(kind string) (crypto.Signer, error) {
	switch strings.ToUpper(kind) {
	case "P-256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, noKeyType(kind)
}

// createKey makes a key and writes it to a file that only its owner may read,
// never over an existing one.
func createKey(name, kind string) (crypto.Signer, error) {
	key, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists, and a key is never overwritten: name another file", name)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the key: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
		return nil, fmt.Errorf("writing the key: %w", err)
	}
	return key, nil
}

// readKey reads a private key in PEM.
func readKey(name string) (crypto.Signer, error) {
	content, err := readFile(name, maxPEM)
	if err != nil {
		return nil, err
	}
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s holds no private key in PEM", name)
		}
		var key any
		// RFC 1421, Section 4.6.1.1: how openssl encrypted keys before PKCS #8.
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, fmt.Errorf("%s is encrypted, and encrypted keys are not read: openssl pkey -in %s -out FILE decrypts it", name, name)
		}
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue // EC PARAMETERS, or a certificate in front
		}
		if err != nil {
			return nil, fmt.Errorf("%s: parsing the private key: %w", name, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%s holds a key that cannot sign", name)
		}
		return signer, nil
	}
}

// readCertificates reads every certificate of a PEM file.
func readCertificates(name string) ([]*x509.Certificate, error) {
	content, err := readFile(name, maxPEM)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: parsing certificate %d: %w", name, len(list)+1, err)
		}
		list = append(list, certificate)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return list, nil
}

// certificatePEM encodes certificates one after the other.
func certificatePEM(list ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range list {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}
