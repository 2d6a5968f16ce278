//go:build !linux

package token

import "golang.org/x/sys/unix"

// guard keeps memory out of swap.
func guard(memory []byte) error { return unix.Mlock(memory) }
