package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrOtherKey is returned by Restore where another key is.
var ErrOtherKey = errors.New("another key is there, which is not overwritten")

// Restore writes a key of an opened backup where it was, encrypted with the passphrase of
// the store, durably, and reads it back. It reports false if the same key is
// there already, and fails with ErrOtherKey if another one is.
func (s *Store) Restore(ctx context.Context, k *SavedKey) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if k.signer == nil {
		return false, errors.New("the backup was not opened")
	}
	if s.cfg.Dir == "" || !validSavedFile(k.File) {
		return false, fmt.Errorf("%q is no name of a key file", k.File)
	}
	dir, _, _ := strings.Cut(k.File, "/")
	if err := os.Mkdir(filepath.Join(s.cfg.Dir, dir), 0o700); err == nil {
		if err := syncDir(s.cfg.Dir); err != nil {
			return false, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	present, err := s.present(k)
	if present || err != nil {
		return false, err
	}
	content, err := s.fileContent(k)
	if err != nil {
		return false, err
	}
	defer clear(content)
	if err := s.writeRestored(k, content); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	// What is there now is that key, whoever wrote it.
	if present, err = s.present(k); err == nil && !present {
		err = errors.New("it is gone again")
	}
	if err != nil {
		return false, fmt.Errorf("reading back %s: %w", k.File, err)
	}
	return true, nil
}

// present reports whether the key is there; ErrOtherKey if another one is.
func (s *Store) present(k *SavedKey) (bool, error) {
	path := filepath.Join(s.cfg.Dir, filepath.FromSlash(k.File))
	there, err := s.saved(k.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("what is there already is not overwritten: %w", err)
	case there.SPKI != k.SPKI:
		return false, fmt.Errorf("%w: %s has SHA-256 %x", ErrOtherKey, path, there.SPKI)
	}
	return true, nil
}

// writeRestored creates the file of a key as writeNew does, without leaving the
// directory that key files are in, by whatever links are there.
func (s *Store) writeRestored(k *SavedKey, content []byte) (err error) {
	root, name, err := s.rootOf(k.File)
	if err != nil {
		return err
	}
	defer root.Close()
	dir := filepath.Dir(name)
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if k.Name != "" {
		mode = 0o400 // as it is made
	}
	temp := filepath.Join(dir, ".new-key-"+rand.Text())
	f, err := root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer root.Remove(temp)
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", k.File, err)
	}
	// Unlike a rename, a link does not replace what is there.
	if err := root.Link(temp, name); err != nil {
		return err
	}
	if err := root.Remove(temp); err != nil {
		return err
	}
	// Up to the directory of keys, which Restore has synced if it was new.
	for ; ; dir = filepath.Dir(dir) {
		if err := syncIn(root, dir); err != nil || dir == "." {
			return err
		}
	}
}

func syncIn(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing the directory of keys: %w", err)
	}
	return nil
}
