// Package place has the places that CRLs and CA certificates are put into: a directory
// and a bucket of S3.
package place

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mintmark/ca/revocation"
)

// folder is a directory on this host or mounted there.
type folder struct {
	name string
	path string
	busy chan struct{}
}

// Folder is a directory that exists, for a web server to serve. A file in it changes at
// once from one whole version to the next, and everybody may read it. A file system that
// hangs is left alone with the one call that hangs in it. name is what people call it.
func Folder(name, path string) revocation.Place { return &folder{name, path, make(chan struct{}, 1)} }

func (f *folder) Name() string { return "dir " + f.name }

// Get implements revocation.Place. The version is a hash of the content.
func (f *folder) Get(ctx context.Context, name string) ([]byte, string, error) {
	var content []byte // not read unless the call is over
	var version string
	err := f.alone(ctx, func() (err error) {
		content, version, err = f.get(name)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return content, version, nil
}

// Put implements revocation.Place.
func (f *folder) Put(ctx context.Context, name string, file revocation.File, version string) error {
	return f.alone(ctx, func() error { return f.put(name, file, version) })
}

// alone runs one call at a time, which goes on if the context ends before it.
func (f *folder) alone(ctx context.Context, call func() error) error {
	select {
	case f.busy <- struct{}{}:
	default:
		return fmt.Errorf("%s: an earlier call hangs in the file system", f.path)
	}
	done := make(chan error, 1)
	go func() {
		err := call()
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

// temporary begins the names of files that are being written.
const temporary = ".new-"

func (f *folder) get(name string) ([]byte, string, error) {
	file, err := os.Open(filepath.Join(f.path, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(f.path); err != nil {
			return nil, "", err // not mounted
		}
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, "", errors.Join(err, fmt.Errorf("%s is not a regular file", file.Name()))
	}
	content, err := io.ReadAll(io.LimitReader(file, revocation.MaxFile+1))
	if err != nil {
		return nil, "", err
	}
	if len(content) > revocation.MaxFile {
		content = nil // nothing of ours: it is replaced
	}
	sum := sha256.Sum256(content)
	if content == nil {
		content = []byte{}
	}
	return content, hex.EncodeToString(sum[:]), nil
}

func (f *folder) put(name string, file revocation.File, version string) error {
	path := filepath.Join(f.path, filepath.FromSlash(name))
	dir := filepath.Dir(path)
	if err := f.makeDir(dir); err != nil {
		return err
	}
	sweep(dir)
	next, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name())
	_, err = next.Write(file.Content)
	// After the content, so that nobody who may not write has half of it.
	err = errors.Join(err, next.Chmod(0o644), next.Sync(), next.Close())
	if err == nil {
		err = os.Chtimes(next.Name(), file.Modified, file.Modified) // becomes Last-Modified
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if _, now, err := f.get(name); err != nil || now != version {
		return errors.Join(err, fmt.Errorf("%s: %w", path, revocation.ErrChanged))
	}
	if err := os.Rename(next.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// makeDir makes the directories below the place, which must exist: where nothing is
// mounted, nothing may be written.
func (f *folder) makeDir(dir string) error {
	if _, err := os.Stat(f.path); err != nil {
		return err
	}
	rel, err := filepath.Rel(f.path, dir)
	if err != nil {
		return err
	}
	at := f.path
	for part := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		if part == "." {
			continue
		}
		parent := at
		at = filepath.Join(at, part)
		err := os.Mkdir(at, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = errors.Join(os.Chmod(at, 0o755), syncDir(parent)) // whatever the umask is
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a crash has left. Only one server writes at a time that has not
// crashed, but for some seconds, in which the other one tries again.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, temporary+"*"))
	for _, file := range left {
		os.Remove(file)
	}
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
