//go:build unix

// Package flock takes files for one process at a time (flock(2)).
package flock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrTaken says that another process has the file, or that this one has opened it twice.
var ErrTaken = errors.New("another process has it")

// Take takes an open file until it is released, or the process ends, however it does. It does
// not wait: ErrTaken.
func Take(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrTaken
	}
	return err
}

// Release gives a file back and closes it. Closed alone it would stay taken for as long as a child that
// is being started holds copies of all descriptors: until its program begins.
func Release(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}
