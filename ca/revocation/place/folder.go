// Package place has the places that CRLs and CA certificates are put into: a directory
// and a bucket of S3.
package place

import (
	"context"
	"crypto/rand"
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
// hangs is left alone with the one call that hangs in it. Links below it are not followed:
// whoever else may write there reaches nothing beside it. name is what people call it.
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
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return nil, "", err // not mounted
	}
	defer root.Close()
	return read(root, name)
}

// read reads a file below the place. Nothing is followed out of it, whoever may write
// there, and where a link leads inside of it is nobody's file either.
func read(root *os.Root, name string) ([]byte, string, error) {
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", filepath.Join(root.Name(), name))
	}
	if err != nil {
		return nil, "", err
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	if now, err := file.Stat(); err != nil || !os.SameFile(info, now) {
		return nil, "", errors.Join(err, fmt.Errorf("%s changes while it is read", file.Name()))
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

// put writes a file below the place, which must exist: where nothing is mounted, nothing
// may be written.
func (f *folder) put(name string, file revocation.File, version string) error {
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return err
	}
	defer root.Close()
	name = filepath.FromSlash(name)
	dir, err := makeDir(root, filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	base := filepath.Base(name)
	path := filepath.Join(dir.Name(), base)
	sweep(dir)
	temporary := temporary + rand.Text()
	next, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer dir.Remove(temporary)
	_, err = next.Write(file.Content)
	// After the content, so that nobody who may not write has half of it.
	err = errors.Join(err, next.Chmod(0o644), next.Sync(), next.Close())
	if err == nil {
		err = dir.Chtimes(temporary, file.Modified, file.Modified) // becomes Last-Modified
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if _, now, err := read(dir, base); err != nil || now != version {
		return errors.Join(err, fmt.Errorf("%s: %w", path, revocation.ErrChanged))
	}
	if err := dir.Rename(temporary, base); err != nil {
		return err
	}
	return syncDir(dir)
}

// makeDir makes the directories of a path below the place and opens the last one. A
// link in the place of one is refused, wherever it leads: a place has none of ours.
func makeDir(root *os.Root, path string) (*os.Root, error) {
	at, err := root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(filepath.ToSlash(path), "/") {
		if part == "." {
			continue
		}
		next, err := below(at, part)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// below opens a directory, which is made if there is none.
func below(at *os.Root, name string) (*os.Root, error) {
	err := at.Mkdir(name, 0o755)
	if err == nil {
		err = errors.Join(at.Chmod(name, 0o755), syncDir(at)) // whatever the umask is
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	info, err := at.Lstat(name)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", filepath.Join(at.Name(), name))
	}
	if err != nil {
		return nil, err
	}
	dir, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if now, err := dir.Stat("."); err != nil || !os.SameFile(info, now) {
		dir.Close()
		return nil, errors.Join(err, fmt.Errorf("%s changes while it is opened", filepath.Join(at.Name(), name)))
	}
	return dir, nil
}

// sweep removes what a crash has left. Only one server writes at a time that has not
// crashed, but for some seconds, in which the other one tries again.
func sweep(dir *os.Root) {
	left, _ := fs.Glob(dir.FS(), temporary+"*")
	for _, name := range left {
		dir.Remove(name)
	}
}

func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("opening directory to sync it: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}
