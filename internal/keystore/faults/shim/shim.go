// Package shim makes a PKCS#11 module that stands in front of another one and fails
// on command: it hangs, crashes, loses sessions, lies. It is for tests.
//
// The module is C (testdata/shim.c) and is compiled with gcc. What it does wrong is
// set through memory that this process and every process which has loaded the module
// share; so are its counts, which go on when such a process is restarted.
package shim

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

//go:embed testdata/shim.c
var source []byte

// compiled is the module as gcc made it, once in a process.
var compiled = sync.OnceValues(func() ([]byte, error) {
	// It has a thread of its own, so that it must not be unloaded.
	return Compile(source, "-shared", "-fPIC", "-Wl,-z,nodelete")
})

// Compile compiles C source with gcc and returns the binary.
func Compile(source []byte, flags ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "shim-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "source.c"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, source, 0o600); err != nil {
		return nil, err
	}
	args := append([]string{"-std=gnu11", "-Wall", "-Wextra", "-O2", "-o", out, in}, flags...)
	if text, err := exec.Command("gcc", append(args, "-ldl", "-lpthread")...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %w\n%s", err, text)
	}
	return os.ReadFile(out)
}

// Module is one such module with faults of its own. Its methods may be called
// concurrently.
type Module struct {
	// Path is what to load: a file of its own, so that modules of one test do not
	// share their faults.
	Path string

	memory []byte
	mu     sync.Mutex // of commands
}

// New makes a module in dir that stands in front of the module real. conf is what
// SOFTHSM2_CONF is set to in a process that loads it; empty to leave it alone. The
// file is Path.control's owner's until Close.
func New(dir, real, conf string) (*Module, error) {
	binary, err := compiled()
	if err != nil {
		return nil, err
	}
	if len(real) >= confAt-moduleAt || len(conf) >= pinAt-confAt {
		return nil, fmt.Errorf("the path of the module or its configuration is too long")
	}
	f, err := os.CreateTemp(dir, "shim-*.so")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(binary)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	control := make([]byte, size)
	copy(control[moduleAt:], real)
	copy(control[confAt:], conf)
	path := f.Name() + ".control"
	if err := os.WriteFile(path, control, 0o600); err != nil {
		return nil, err
	}
	c, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	memory, err := syscall.Mmap(int(c.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", path, err)
	}
	return &Module{Path: f.Name(), memory: memory}, nil
}

// Close gives the memory back. The files stay.
func (m *Module) Close() error { return syscall.Munmap(m.memory) }

func (m *Module) at(w Word) *atomic.Int64 {
	return (*atomic.Int64)(unsafe.Pointer(&m.memory[8*w]))
}

// Set sets a word, at once for every process that has the module.
func (m *Module) Set(w Word, v int64) { m.at(w).Store(v) }

// Get returns a word.
func (m *Module) Get(w Word) int64 { return m.at(w).Load() }

// SetTimes makes the next n calls do what a word says, which is one of Fail, Garbage
// and Crash; all, if n is negative.
func (m *Module) SetTimes(w Word, v, n int64) {
	m.Set(w, 0)
	m.Set(w+1, n)
	m.Set(w, v)
}

// PIN is what the PIN pad of the token is given: set Pad too.
func (m *Module) PIN(pin string) {
	clear(m.memory[pinAt:size])
	copy(m.memory[pinAt:size-1], pin)
}

// Mend ends every fault. Counts stay.
func (m *Module) Mend() {
	for w := Delay; w <= lastFault; w++ {
		m.Set(w, 0)
	}
}

// Wipe makes the process that has loaded the module call a function of the library behind
// the back of whoever uses it, and returns the CKR_ that the library answered with. It
// fails if no process does so within the time.
func (m *Module) Wipe(w Wipe, within time.Duration) (uint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	command := (m.Get(commandWord)>>8+1)<<8 | int64(w)
	m.at(commandWord).Store(command)
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		if m.Get(doneWord) == command {
			return uint(m.Get(resultWord)), nil
		}
	}
	return 0, fmt.Errorf("no process answered within %v", within)
}
