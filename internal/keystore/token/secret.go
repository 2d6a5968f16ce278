package token

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxPIN bounds a PIN, and each part of one.
const maxPIN = 255

// secret is a PIN in memory that is neither swapped nor dumped. It may be used
// concurrently.
type secret struct {
	mu     sync.Mutex
	memory []byte
	size   int
	locked bool
}

// newSecret moves the parts, in their order, into memory of its own.
func newSecret(parts ...[]byte) (*secret, error) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	page := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, (size+page)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("getting memory for the PIN: %w", err)
	}
	s := &secret{memory: memory, size: size, locked: guard(memory) == nil}
	n := 0
	for _, p := range parts {
		n += copy(memory[n:], p)
		clear(p)
	}
	return s, nil
}

// with calls f with the PIN, which f must not keep.
func (s *secret) with(f func(pin []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return errors.New("the PIN was wiped")
	}
	return f(s.memory[:s.size:s.size])
}

// copy returns a copy, for one login; the caller wipes it.
func (s *secret) copy() (pin []byte, err error) {
	err = s.with(func(p []byte) error {
		pin = append(make([]byte, 0, len(p)), p...)
		return nil
	})
	return pin, err
}

// wipe zeroes and frees it. It may be called twice, and on nil.
func (s *secret) wipe() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return
	}
	clear(s.memory)
	// It ends with the process at the latest.
	_ = unix.Munmap(s.memory)
	s.memory = nil
}
