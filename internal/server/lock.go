package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mintmark/internal/flock"
)

// ErrBusy says that another process works on the state directory.
var ErrBusy = errors.New("the state directory is in use by another process")

// lock takes the exclusive lock of a state directory, which the kernel drops
// when the process ends however it ends. It refuses a directory that belongs
// to someone else: what runs there would own its keys.
func lock(dir string) (*os.File, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	if uid := os.Getuid(); int(stat.Uid) != uid {
		return nil, fmt.Errorf("state directory %s belongs to uid %d, and this is uid %d: run as its owner", dir, stat.Uid, uid)
	}
	if stat.Mode&0o022 != 0 {
		return nil, fmt.Errorf("state directory %s can be written by others than its owner: chmod 0700 it", dir)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	err = flock.Take(f)
	if errors.Is(err, flock.ErrTaken) {
		f.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	return f, nil
}
