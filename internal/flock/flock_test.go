//go:build unix

package flock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first, second := open(), open()
	if err := Take(first); err != nil {
		t.Fatal(err)
	}
	if err := Take(second); !errors.Is(err, ErrTaken) {
		t.Errorf("taken twice: %v", err)
	}
	// A child that has the descriptor, as each has before its program begins.
	child := exec.Command("cat")
	child.ExtraFiles = []*os.File{first}
	end, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer end.Close()
	if err := Release(first); err != nil {
		t.Fatal(err)
	}
	if err := Take(second); err != nil {
		t.Errorf("after it was released: %v", err)
	}
	if err := Release(first); err == nil {
		t.Error("released twice")
	}
}
