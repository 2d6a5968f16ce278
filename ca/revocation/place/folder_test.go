package place

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mintmark/ca/revocation"
)

var modified = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func file(content []byte) revocation.File {
	return revocation.File{Content: content, Type: "application/pkix-crl", MaxAge: time.Minute, Modified: modified}
}

// check runs what holds for every place.
func check(t *testing.T, p revocation.Place) {
	t.Helper()
	ctx := t.Context()
	if content, version, err := p.Get(ctx, "crl/line-a/1.crl"); content != nil || version != "" || err != nil {
		t.Fatalf("before it is there: %q %q %v", content, version, err)
	}
	large := bytes.Repeat([]byte("large"), 1<<18)
	version := ""
	for i, content := range [][]byte{[]byte("first"), large, {}, []byte("last")} {
		if err := p.Put(ctx, "crl/line-a/1.crl", file(content), version); err != nil {
			t.Fatalf("content %d: %v", i, err)
		}
		stale := version
		have, now, err := p.Get(ctx, "crl/line-a/1.crl")
		if err != nil || have == nil || !bytes.Equal(have, content) || now == "" || now == stale {
			t.Fatalf("content %d: %d bytes, version %q after %q: %v", i, len(have), now, stale, err)
		}
		if err := p.Put(ctx, "crl/line-a/1.crl", file([]byte("too late")), stale); !errors.Is(err, revocation.ErrChanged) {
			t.Errorf("content %d over another version: %v", i, err)
		}
		version = now
	}
	if have, _, err := p.Get(ctx, "crl/line-a/1.crl"); err != nil || string(have) != "last" {
		t.Errorf("at the end: %q %v", have, err)
	}
	if err := p.Put(ctx, "ca/line-a.crt", file([]byte("certificate")), "no such version"); !errors.Is(err, revocation.ErrChanged) {
		t.Errorf("over a version where nothing is: %v", err)
	}
}

// TestFolder also under a umask that would keep a web server out.
func TestFolder(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	p := Folder("published", dir)
	check(t, p)
	info, err := os.Stat(filepath.Join(dir, "crl/line-a/1.crl"))
	if err != nil || info.Mode() != 0o644 || !info.ModTime().Equal(modified) {
		t.Errorf("file %v %v: %v", info.Mode(), info.ModTime(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "crl/line-a")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("directory %v: %v", info.Mode(), err)
	}
	// What a crash has left goes.
	left := filepath.Join(dir, "crl/line-a", temporary+"17")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, version, err := p.Get(t.Context(), "crl/line-a/1.crl")
	if err == nil {
		err = p.Put(t.Context(), "crl/line-a/1.crl", file([]byte("again")), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	if all, err := os.ReadDir(filepath.Join(dir, "crl/line-a")); err != nil || len(all) != 1 {
		t.Errorf("in the directory: %v %v", all, err)
	}
}

// TestFolderRefuses: nothing is made where the place itself is not there, and nothing that
// is no file is taken for one.
func TestFolderRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "not", "mounted")
	p := Folder("missing", missing)
	if _, _, err := p.Get(t.Context(), "crl/a.crl"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading where nothing is mounted: %v", err)
	}
	if err := p.Put(t.Context(), "crl/a.crl", file([]byte("x")), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("writing where nothing is mounted: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(missing)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "crl/a.crl"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Folder("published", dir).Get(t.Context(), "crl/a.crl"); err == nil {
		t.Error("a directory was read as a file")
	}
	hangs := Folder("published", dir).(*folder)
	hangs.busy <- struct{}{} // as if an earlier call were in the file system
	if _, _, err := hangs.Get(t.Context(), "crl/b.crl"); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("beside a call that hangs: %v", err)
	}
	<-hangs.busy
	ended, cancel := context.WithCancel(t.Context())
	gate := make(chan struct{})
	cancel()
	if err := hangs.alone(ended, func() error { <-gate; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that hangs: %v", err)
	}
	close(gate)
}

// TestFolderIsAtomic: who reads while files change reads one version or another, whole.
func TestFolderIsAtomic(t *testing.T) {
	dir := t.TempDir()
	p := Folder("published", dir)
	versions := make(map[[32]byte]bool)
	var contents [][]byte
	for i := range 8 {
		content := bytes.Repeat([]byte{byte('a' + i)}, 1+i*30_000)
		contents = append(contents, content)
		versions[sha256.Sum256(content)] = true
	}
	if err := p.Put(t.Context(), "crl/a.crl", file(contents[0]), ""); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if content, err := os.ReadFile(filepath.Join(dir, "crl/a.crl")); err != nil || !versions[sha256.Sum256(content)] {
					t.Errorf("%d bytes that were never written: %v", len(content), err)
					return
				}
			}
		})
	}
	for i := range 60 {
		_, version, err := p.Get(t.Context(), "crl/a.crl")
		if err == nil {
			err = p.Put(t.Context(), "crl/a.crl", file(contents[i%len(contents)]), version)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
}

// TestFolderFollowsNoLinks: who may write into the place, as the user of a web server may, has
// nothing read, written or removed beside it.
func TestFolderFollowsNoLinks(t *testing.T) {
	for name, link := range map[string]string{"the directory": "crl", "one in it": "crl/line-a", "the file": "crl/line-a/1.crl"} {
		t.Run(name, func(t *testing.T) {
			place, beside := t.TempDir(), t.TempDir()
			for _, d := range []string{place, beside} {
				if err := os.MkdirAll(filepath.Join(d, "crl/line-a"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			content := map[string]string{"crl/line-a/1.crl": "theirs", "crl/line-a/" + temporary + "x": "theirs, too"}
			for file, text := range content {
				if err := os.WriteFile(filepath.Join(beside, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(filepath.Join(place, link)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(beside, link), filepath.Join(place, link)); err != nil {
				t.Fatal(err)
			}
			p := Folder("published", place)
			if got, version, err := p.Get(t.Context(), "crl/line-a/1.crl"); err == nil {
				t.Errorf("read %q, version %q", got, version)
			}
			for _, version := range []string{"", hashOf("theirs")} {
				if err := p.Put(t.Context(), "crl/line-a/1.crl", file([]byte("ours")), version); err == nil {
					t.Errorf("written over version %q", version)
				}
			}
			for file, text := range content {
				if got, err := os.ReadFile(filepath.Join(beside, file)); err != nil || string(got) != text {
					t.Errorf("%s: %q, %v", file, got, err)
				}
			}
			all, err := os.ReadDir(filepath.Join(beside, "crl/line-a"))
			if err != nil || len(all) != len(content) {
				t.Errorf("beside the place: %v, %v", all, err)
			}
		})
	}
	// A link inside of it is no directory of ours either.
	place := t.TempDir()
	if err := os.MkdirAll(filepath.Join(place, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", filepath.Join(place, "crl")); err != nil {
		t.Fatal(err)
	}
	if err := Folder("published", place).Put(t.Context(), "crl/a.crl", file([]byte("ours")), ""); err == nil {
		t.Error("written through a link inside of the place")
	}
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
