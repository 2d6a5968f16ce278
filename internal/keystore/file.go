package keystore

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.step.sm/crypto/pemutil"
)

// maxKeyFile bounds what is read as a key file: an RSA-4096 key takes 4 KB.
const maxKeyFile = 64 << 10

// minPassphrase is the length of the shortest passphrase that a new file is
// encrypted with.
const minPassphrase = 8

// openFile opens the encrypted PKCS #8 file that u names.
func (s *Store) openFile(u *keyURI) (crypto.Signer, error) {
	path, err := u.path(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxKeyFile:
		return nil, fmt.Errorf("%s is not a key file", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return s.decrypt(path, data)
}

// decrypt returns the key in the PEM data of the file at path.
func (s *Store) decrypt(path string, data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%s is not a PEM file", path)
	case block.Headers["Proc-Type"] != "":
		return nil, fmt.Errorf("%s is encrypted in the old way of OpenSSL, which is weak: convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 600000", path)
	case block.Type == "PRIVATE KEY" || block.Type == "EC PRIVATE KEY" || block.Type == "RSA PRIVATE KEY":
		clear(block.Bytes)
		return nil, fmt.Errorf("%s is not encrypted, which a CA key must be: encrypt it with openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 600000", path)
	case block.Type != "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("%s holds a %q, not an encrypted private key", path, block.Type)
	}
	passphrase, err := s.passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	der, err := decryptPKCS8(block.Bytes, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer clear(der)
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// A wrong passphrase passes for a right one in one case of 256.
		return nil, fmt.Errorf("%s: %w", path, ErrPassphrase)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign", path)
	}
	return signer, nil
}

// decryptPKCS8 decrypts with pemutil, which panics on a file whose ciphertext
// or initialisation vector was cut.
func decryptPKCS8(data, passphrase []byte) (der []byte, err error) {
	defer func() {
		if recover() != nil {
			der, err = nil, ErrPassphrase
		}
	}()
	der, err = pemutil.DecryptPKCS8PrivateKey(data, passphrase)
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, ErrPassphrase
	}
	return der, err
}

func (s *Store) passphrase() ([]byte, error) {
	if s.cfg.Passphrase == nil {
		return nil, errors.New("no passphrase is configured for encrypted key files")
	}
	p, err := s.cfg.Passphrase()
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if len(p) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	return p, nil
}

// createFile makes a key and writes it where u says, encrypted by
// encryptPKCS8.
func (s *Store) createFile(u *keyURI, alg string) (crypto.Signer, error) {
	path, err := u.path(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	}
	passphrase, err := s.passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	if len(passphrase) < minPassphrase {
		return nil, fmt.Errorf("the passphrase is shorter than %d characters", minPassphrase)
	}
	signer, err := generate(alg)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	sealed, err := encryptPKCS8(der, passphrase)
	if err != nil {
		return nil, fmt.Errorf("encrypting the key: %w", err)
	}
	if err := writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: sealed})); err != nil {
		return nil, err
	}
	// What was written is what will be opened: after a year is too late to
	// find that it cannot be.
	written, err := s.openFile(u)
	if err != nil {
		return nil, fmt.Errorf("reading back the new key: %w", err)
	}
	return written, nil
}

// writeNew creates the file path durably with mode 0600, or fails with
// ErrExists. At no time is there a part of it under that name.
func writeNew(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-key-*") // mode 0600
	if err != nil {
		return err
	}
	temp := f.Name()
	defer os.Remove(temp)
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", temp, err)
	}
	// Unlike a rename, a link does not replace what is there.
	if err := os.Link(temp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %s", ErrExists, path)
		}
		return err
	}
	if err := os.Remove(temp); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
