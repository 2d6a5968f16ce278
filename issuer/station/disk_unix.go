//go:build unix

package station

import (
	"errors"
	"fmt"
	"os"

	"mintmark/internal/flock"
)

// lockFile makes a file and locks it for this process, until unlock.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockOpen(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockOpen locks a file for this process, until unlock.
func lockOpen(f *os.File) error {
	err := flock.Take(f)
	if errors.Is(err, flock.ErrTaken) {
		return fmt.Errorf("another station works on this folder or record: %s is locked", f.Name())
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return nil
}

// unlock gives a locked file back and closes it.
func unlock(f *os.File) error { return flock.Release(f) }

// syncFolder makes a change of names durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
