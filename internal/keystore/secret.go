package keystore

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// credentialName is the name under which systemd passes the passphrase
// (LoadCredential=, LoadCredentialEncrypted=).
const credentialName = "mintmark-passphrase"

// maxSecret bounds what is read as a passphrase or PIN.
const maxSecret = 4096

// PassphraseFile returns a function for Config.Passphrase that reads the file
// path. It refuses a file that others than its owner can read or write.
func PassphraseFile(path string) func() ([]byte, error) {
	return func() ([]byte, error) { return SecretFile(path, maxSecret) }
}

// SecretFile reads a file as PassphraseFile does, of at most so many bytes.
func SecretFile(path string, most int) ([]byte, error) { return readSecret(path, 0o077, most) }

// PassphraseCredential returns a function for Config.Passphrase that reads the
// credential mintmark-passphrase of the systemd unit, or nil if there is none.
func PassphraseCredential() func() ([]byte, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, credentialName)
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	// systemd gives a service user its right to read by an access control
	// list, the mask of which shows up in place of the rights of the group.
	return func() ([]byte, error) { return readSecret(path, 0o007, maxSecret) }
}

// readSecret returns the content of the file path without the line end after
// it. A file with one of the permissions in forbidden is refused, and one that is
// longer than most bytes.
func readSecret(path string, forbidden fs.FileMode, most int) ([]byte, error) {
	secret, _, err := readSecretInfo(path, forbidden, most)
	return secret, err
}

// readSecretInfo returns the secret and which file it came from.
func readSecretInfo(path string, forbidden fs.FileMode, most int) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return nil, nil, fmt.Errorf("%s can be read by others than its owner (mode %04o): run chmod 400 %s", path, mode, path)
	}
	data := make([]byte, most+1)
	n, err := io.ReadFull(f, data)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		clear(data)
		return nil, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if n > most {
		clear(data)
		return nil, nil, fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	secret := bytes.TrimRight(data[:n], "\r\n")
	if len(secret) == 0 {
		return nil, nil, fmt.Errorf("%s is empty", path)
	}
	return secret, info, nil
}
