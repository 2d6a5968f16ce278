package heads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Target is one place that keeps heads.
type Target interface {
	// Name says in the log and in metrics which it is.
	Name() string
	// Put keeps a head under a name and returns after it is durable there. It
	// replaces nothing: if the same bytes are there already that is success,
	// and ErrConflict if there are others.
	Put(ctx context.Context, name string, signed []byte) error
}

// ErrConflict: the place holds another head under that name. One of the two is
// not what this log says.
var ErrConflict = errors.New("another head is kept under this name")

// folder keeps heads as files.
type folder struct {
	path string
	busy chan struct{}
}

// Folder is a directory that exists, best on another machine's disk.
func Folder(path string) Target { return &folder{path: path, busy: make(chan struct{}, 1)} }

func (f *folder) Name() string { return "folder " + f.path }

// Put implements Target. A file system that hangs is left alone with the one
// call that hangs in it.
func (f *folder) Put(ctx context.Context, name string, signed []byte) error {
	select {
	case f.busy <- struct{}{}:
	default:
		return fmt.Errorf("%s: an earlier write hangs", f.path)
	}
	done := make(chan error, 1)
	go func() {
		err := f.put(name, signed)
		<-f.busy // first, for the caller may come back at once
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", f.path, context.Cause(ctx))
	}
}

func (f *folder) put(name string, signed []byte) error {
	path := filepath.Join(f.path, name)
	err := create(path, signed, 0o440)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	have, err := readHead(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, signed) {
		return fmt.Errorf("%s: %w", path, ErrConflict)
	}
	// Whoever wrote it may have died before the directory was durable.
	return syncDir(f.path)
}

// create writes a new file that is there whole or not at all; fs.ErrExist if
// there is one.
func create(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	// A link, unlike a rename, replaces nothing. Where files cannot have two
	// names, Linux has a rename that does not either.
	err = os.Link(f.Name(), path)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening directory to sync it: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}

// readHead reads one file of bounded size.
func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading head: %w", err)
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(in io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(in, maxNote+1))
	if err != nil {
		return nil, fmt.Errorf("reading head: %w", err)
	}
	if len(content) > maxNote {
		return nil, fmt.Errorf("reading head: it has more than %d bytes", maxNote)
	}
	return content, nil
}
