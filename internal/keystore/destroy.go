package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Destroy removes the key that uri names and that is want: the file is overwritten and
// removed, the pair in a token destroyed. ErrNotFound if there is none, ErrMismatch if it
// is another key. Copies of a file that were made elsewhere, and what a journal or flash
// memory keeps of it, are not reached.
func (s *Store) Destroy(ctx context.Context, uri string, want crypto.PublicKey) error {
	if err := s.destroy(ctx, uri, want); err != nil {
		return fmt.Errorf("destroying key %s: %w", Redact(uri), err)
	}
	s.log.Warn("key destroyed", "key", Redact(uri))
	return nil
}

func (s *Store) destroy(ctx context.Context, uri string, want crypto.PublicKey) error {
	if want == nil {
		return errors.New("a key is only destroyed by its public key")
	}
	u, err := s.begin(ctx, uri)
	if err != nil {
		return err
	}
	switch {
	case u.scheme == schemePKCS11:
		return s.destroyInToken(ctx, u, want)
	case u.isKMS():
		return s.destroyExternal(ctx, u, want)
	}
	return s.destroyFile(u, want)
}

// destroyFile overwrites and removes the file that u names, if want is in it.
func (s *Store) destroyFile(u *keyURI, want crypto.PublicKey) error {
	key, err := s.openFile(u)
	if err != nil {
		return err
	}
	if !equal(key.Public(), want) {
		return ErrMismatch
	}
	path, err := u.path(s.cfg.Dir)
	if err != nil {
		return err
	}
	if err := overwrite(path); err != nil {
		return fmt.Errorf("overwriting %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// overwrite replaces the bytes of a file by zeros, durably.
func overwrite(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, zeros{}, info.Size()); err != nil {
		return err
	}
	return f.Sync()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// equal reports whether two public keys are the same.
func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
