package heads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// shelf is a server that keeps what is PUT under a path, once, as S3 and any
// WebDAV server with If-None-Match do.
type shelf struct {
	mu       sync.Mutex
	kept     map[string][]byte
	requests []*http.Request
	status   int // answered to everything, if set
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	s.requests = append(s.requests, r)
	have, there := s.kept[r.URL.Path]
	switch {
	case s.status != 0:
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(s.status)
	case r.Method == http.MethodGet && there:
		w.Write(have)
	case r.Method != http.MethodPut:
		w.WriteHeader(http.StatusNotFound)
	case there && r.Header.Get("If-None-Match") == "*":
		w.WriteHeader(http.StatusPreconditionFailed)
	default:
		s.kept[r.URL.Path] = body
	}
}

func serve(t *testing.T) (*shelf, string) {
	t.Helper()
	s := &shelf{kept: map[string][]byte{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

// checkTarget puts heads where they are not, where they are, and where others
// are.
func checkTarget(t *testing.T, target Target, replace func(name string, content []byte)) {
	t.Helper()
	name := FileName("alpha", 1)
	signed := sign(t, sample(1), newKey(t, "alpha"))
	for range 2 {
		if err := target.Put(t.Context(), name, signed); err != nil {
			t.Fatal(err)
		}
	}
	for what, other := range map[string][]byte{
		"another head": sign(t, sample(1), newKey(t, "alpha")), "half a head": signed[:20], "nothing": nil,
		"something large": []byte(strings.Repeat("x", 10<<10)),
	} {
		replace(name, other)
		err := target.Put(t.Context(), name, signed)
		if err == nil || what != "something large" && !errors.Is(err, ErrConflict) {
			t.Errorf("%s is there: %v", what, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := target.Put(ended, FileName("alpha", 2), signed); err == nil {
		if _, ok := target.(*folder); !ok {
			t.Error("put after the end")
		}
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	f := Folder(dir).(*folder)
	checkTarget(t, f, func(name string, content []byte) {
		os.Remove(filepath.Join(dir, name))
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f.busy <- struct{}{} // the write that nobody waited for has ended
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left %v behind", left)
	}
	missing := Folder(filepath.Join(dir, "not", "mounted"))
	if err := missing.Put(t.Context(), "alpha-1.head", []byte("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// A file system that hangs holds up one write and not the exporter.
func TestFolderThatHangs(t *testing.T) {
	f := Folder(t.TempDir()).(*folder)
	f.busy <- struct{}{} // as if an earlier write were in it
	if err := f.Put(t.Context(), "alpha-1.head", []byte("x")); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("beside a write that hangs: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	s, url := serve(t)
	target, err := HTTP(url+"/heads/", "secret-token")
	if err != nil {
		t.Fatal(err)
	}
	checkTarget(t, target, func(name string, content []byte) { s.kept["/heads/"+name] = content })
	for _, r := range s.requests {
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			t.Errorf("%s without the token", r.Method)
		}
	}
	for _, status := range []int{302, 307, 401, 404, 500} {
		s.status = status
		err := target.Put(t.Context(), FileName("alpha", 3), []byte("x"))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(status)) || strings.Contains(err.Error(), "secret-token") {
			t.Errorf("status %d: %v", status, err)
		}
	}
	for _, bad := range []string{
		"http://example.org/heads", "ftp://localhost/", "https://", "https://user:pass@example.org/", "https://example.org/?x=1", "%", "/heads",
	} {
		if _, err := HTTP(bad, ""); err == nil || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, good := range []string{"https://example.org/heads", "http://localhost:1/", "http://127.0.0.1:1", "http://[::1]:1/x"} {
		if _, err := HTTP(good, ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := HTTP("https://example.org/", "two\r\nlines"); err == nil || strings.Contains(err.Error(), "lines") {
		t.Errorf("a token of two lines: %v", err)
	}
}

func TestS3(t *testing.T) {
	s, url := serve(t)
	account := aws.Config{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")}
	target, err := S3(S3Config{AWS: account, Bucket: "audit", Prefix: "factory/", Endpoint: url})
	if err != nil {
		t.Fatal(err)
	}
	checkTarget(t, target, func(name string, content []byte) { s.kept["/audit/factory/"+name] = content })
	if len(s.kept) == 0 || s.requests[0].URL.Path != "/audit/factory/"+FileName("alpha", 1) {
		t.Errorf("kept %v", s.kept)
	}
	for _, r := range s.requests {
		if r.Method == http.MethodPut && r.Header.Get("If-None-Match") != "*" {
			t.Error("a PUT that replaces what is there")
		}
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			t.Errorf("%s is not signed", r.Method)
		}
	}
	s.status = http.StatusForbidden
	if err := target.Put(t.Context(), FileName("alpha", 3), []byte("x")); err == nil || errors.Is(err, ErrConflict) {
		t.Errorf("forbidden: %v", err)
	}
	for _, c := range []S3Config{
		{AWS: account, Bucket: "audit", Endpoint: "http://192.0.2.1"}, {AWS: account, Bucket: "audit", Endpoint: "no address"},
		{AWS: account}, {Bucket: "audit"}, {AWS: account, Bucket: "audit", Prefix: "a b/"}, {AWS: account, Bucket: "audit", Prefix: "/a"},
	} {
		if _, err := S3(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
