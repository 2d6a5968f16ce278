package keystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mintmark/internal/keystore/token"
)

// into says in src where the PIN comes from.
func (p PIN) into(src *token.Source) error {
	given := 0
	for _, is := range []bool{p.File != "", p.Credential != "", p.Operators != 0, p.Pad} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("the PIN comes from exactly one of a file, a credential, operators and the token's own pad")
	case p.File != "":
		src.PIN, src.From = pinFile(p.File), p.File
	case p.Credential != "":
		if strings.ContainsAny(p.Credential, "/\x00") || p.Credential == "." || p.Credential == ".." {
			return fmt.Errorf("%q is no name of a credential", p.Credential)
		}
		src.PIN, src.From = pinCredential(p.Credential), "the credential "+p.Credential
	case p.Pad:
		src.Pad = true
	default:
		src.Parts = p.Operators
	}
	return nil
}

// pinFile reads a PIN from a file that only its owner can read.
func pinFile(path string) func() ([]byte, string, error) {
	return func() ([]byte, string, error) {
		pin, info, err := readSecretInfo(path, 0o077, maxSecret)
		if err != nil {
			return nil, "", err
		}
		return pin, fmt.Sprintf("file %s, %d bytes, changed %d", path, info.Size(), info.ModTime().UnixNano()), nil
	}
}

// pinCredential reads a PIN from a credential of the systemd unit. Its time of change
// is that of the start of the unit and says nothing: a corrected PIN of the same length
// has to be tried on purpose (hsm unlock --again), which is better than a wrong one
// being tried with each restart until the token locks.
func pinCredential(name string) func() ([]byte, string, error) {
	return func() ([]byte, string, error) {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, "", fmt.Errorf("there is no credential %q: the server was not started by systemd with one", name)
		}
		// The mask of an access control list shows up as rights of the group.
		pin, info, err := readSecretInfo(filepath.Join(dir, name), 0o007, maxSecret)
		if err != nil {
			return nil, "", err
		}
		return pin, fmt.Sprintf("credential %s, %d bytes", name, info.Size()), nil
	}
}
