//go:build !unix

package station

import (
	"fmt"
	"os"
)

// lockFile makes a file and keeps it open. Where there is no flock, a file that is open
// cannot be removed, and one that is left over can.
func lockFile(name string) (*os.File, error) {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("another station works on this folder: %w", err)
	}
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// lockOpen does nothing: there is no flock here.
func lockOpen(*os.File) error { return nil }

// unlock closes a file.
func unlock(f *os.File) error { return f.Close() }

// syncFolder does nothing: the file system keeps its names in a journal, and
// offers no more.
func syncFolder(string) error { return nil }
