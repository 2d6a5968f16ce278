package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	keysDir  = "keys"
	headsKey = "secrets/audit-key"
)

// KeyFile returns the file that a softkms URI names, below dir unless it is absolute.
// It is false for URIs of other kinds.
func KeyFile(uri, dir string) (string, bool) {
	u, err := parseURI(uri)
	if err != nil || u.scheme != schemeSoft {
		return "", false
	}
	path, err := u.path(dir)
	return path, err == nil
}

// keyFiles lists what a backup has to hold, with slashes, relative to the directory of
// the store. Files whose name begins with a dot are ours while they are written.
func (s *Store) keyFiles() ([]string, error) {
	if s.cfg.Dir == "" {
		return nil, errors.New("no key directory is configured")
	}
	var names []string
	root, err := os.OpenRoot(filepath.Join(s.cfg.Dir, keysDir))
	switch {
	case errors.Is(err, fs.ErrNotExist): // all keys are in tokens
	case err != nil:
		return nil, err
	default:
		defer root.Close()
		err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir(), strings.HasPrefix(d.Name(), "."):
				return nil
			}
			name = keysDir + "/" + name
			if !validSavedFile(name) {
				return fmt.Errorf("the name of the file %q cannot stand in a backup: move it out of %s", name, keysDir)
			}
			names = append(names, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(s.cfg.Dir, headsKey)); err == nil {
		names = append(names, headsKey)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// saved opens the key in a file of the store, which must sign.
func (s *Store) saved(name string) (*SavedKey, error) {
	root, in, err := s.rootOf(name)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(in)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	path := filepath.Join(s.cfg.Dir, filepath.FromSlash(name))
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s is not a key file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	defer clear(data)
	if name == headsKey {
		note, key, err := parseNoteKey(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return newSavedKey(name, note, key)
	}
	signer, err := s.decrypt(path, data)
	if err != nil {
		return nil, err
	}
	return newSavedKey(name, "", signer)
}

// rootOf opens the directory that a key file is in, out of which no name in it and no
// link leads. Where keys itself is a link, that is the operator's decision.
func (s *Store) rootOf(name string) (*os.Root, string, error) {
	dir, in, _ := strings.Cut(name, "/")
	root, err := os.OpenRoot(filepath.Join(s.cfg.Dir, dir))
	return root, filepath.FromSlash(in), err
}

// newSavedKey describes a key, and signs something with it.
func newSavedKey(file, name string, signer crypto.Signer) (*SavedKey, error) {
	k := &SavedKey{File: file, Name: name, signer: signer}
	if err := trySigning(signer); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	k.SPKI = sha256.Sum256(spki)
	switch public := signer.Public().(type) {
	case *ecdsa.PublicKey:
		for name, curve := range curves {
			if public.Curve == curve {
				k.Algorithm = name
			}
		}
	case *rsa.PublicKey:
		k.Algorithm = fmt.Sprintf("RSA-%d", public.N.BitLen())
	case ed25519.PublicKey:
		k.Algorithm = "Ed25519"
	}
	if k.Algorithm == "" {
		return nil, fmt.Errorf("%s holds a key of an unknown kind", file)
	}
	return k, nil
}

// trySigning signs something and verifies it.
func trySigning(signer crypto.Signer) error {
	message := make([]byte, 32)
	rand.Read(message)
	var options crypto.SignerOpts = crypto.SHA256
	digest := sha256.Sum256(message)
	tbs := digest[:]
	if _, ok := signer.Public().(ed25519.PublicKey); ok {
		options, tbs = crypto.Hash(0), message
	}
	signature, err := signer.Sign(rand.Reader, tbs, options)
	if err != nil {
		return fmt.Errorf("signing with the key: %w", err)
	}
	good := false
	switch public := signer.Public().(type) {
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(public, tbs, signature)
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(public, crypto.SHA256, tbs, signature) == nil
	case ed25519.PublicKey:
		good = ed25519.Verify(public, message, signature)
	}
	if !good {
		return errors.New("the signature that the key made does not verify")
	}
	return nil
}

// fileContent is what the file of an opened key holds: encrypted with the passphrase of
// the store, or a key that signs heads as it is.
func (s *Store) fileContent(k *SavedKey) ([]byte, error) {
	if k.Name != "" {
		return formatNoteKey(k.Name, k.signer)
	}
	passphrase, err := s.passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	own := &SavedKey{signer: k.signer}
	if err := own.seal(passphrase); err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: sealedType, Bytes: own.sealed}), nil
}
