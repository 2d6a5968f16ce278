package keystore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"mintmark/internal/keystore/token"
)

const (
	// maxRefusals is how many refused versions of a PIN are remembered, the last ones.
	maxRefusals = 32
	// maxRefusalFile bounds the file of a token.
	maxRefusalFile = 1 << 20
)

// refusals keeps which PINs were refused, or tried without an answer: a file for each token, a quoted version a
// line.
type refusals struct {
	dir string
	mu  sync.Mutex
}

var _ token.Refusals = (*refusals)(nil)

// Refused reports whether the version was refused. It fails where that cannot be told.
func (r *refusals) Refused(name, version string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions, err := r.read(name)
	return slices.Contains(versions, version), err
}

// Put records that the version was refused. It is on disk when Put returns.
func (r *refusals) Put(name, version string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions, err := r.read(name)
	if err != nil {
		return err
	}
	if slices.Contains(versions, version) {
		return nil
	}
	versions = append(versions, version)
	if n := len(versions) - maxRefusals; n > 0 {
		versions = versions[n:]
	}
	return r.write(name, versions)
}

// Drop forgets that the version was refused.
func (r *refusals) Drop(name, version string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions, err := r.read(name)
	if err != nil {
		return err
	}
	i := slices.Index(versions, version)
	if i < 0 {
		return nil
	}
	return r.write(name, slices.Delete(versions, i, i+1))
}

func (r *refusals) path(name string) string { return filepath.Join(r.dir, url.PathEscape(name)) }

func (r *refusals) read(name string) ([]string, error) {
	f, err := os.Open(r.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRefusalFile+1))
	if err != nil {
		return nil, err
	}
	versions, err := parseRefusals(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.path(name), err)
	}
	return versions, nil
}

// parseRefusals reads the file of a token. One that is damaged is an error: what was
// refused cannot be told then.
func parseRefusals(data []byte) ([]string, error) {
	if len(data) > maxRefusalFile {
		return nil, errors.New("the list of refused PINs is too long")
	}
	var versions []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxRefusalFile)
	for lines.Scan() {
		v, err := strconv.Unquote(lines.Text())
		if err != nil {
			return nil, errors.New("the list of refused PINs is damaged: remove the file when the PIN is right")
		}
		versions = append(versions, v)
	}
	return versions, lines.Err()
}

func (r *refusals) write(name string, versions []string) (err error) {
	var b bytes.Buffer
	for _, v := range versions {
		fmt.Fprintln(&b, strconv.Quote(v))
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(r.dir), filepath.Dir(filepath.Dir(r.dir))} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(r.dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	if err := os.Rename(f.Name(), r.path(name)); err != nil {
		return err
	}
	return syncDir(r.dir)
}
