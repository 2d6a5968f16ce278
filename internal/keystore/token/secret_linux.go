package token

import (
	"errors"

	"golang.org/x/sys/unix"
)

// guard keeps memory out of swap and core files.
func guard(memory []byte) error {
	return errors.Join(unix.Mlock(memory), unix.Madvise(memory, unix.MADV_DONTDUMP))
}
