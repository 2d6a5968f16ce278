package awssim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// s3Do sends one request to S3 with a path as it is, signed by the SDK's signer. An
// empty payload hash is computed.
func s3Do(t *testing.T, s *Sim, method, path string, body []byte, payload string, header map[string]string) (*http.Response, string) {
	t.Helper()
	return s3DoAs(t, s, first, method, path, body, payload, header)
}

// s3DoAs is s3Do for an account.
func s3DoAs(t *testing.T, s *Sim, account Account, method, path string, body []byte, payload string, header map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.ControlURL(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, query, _ := strings.Cut(path, "?")
	if r.URL.Path, err = url.PathUnescape(plain); err != nil {
		t.Fatal(err)
	}
	r.URL.RawPath, r.URL.RawQuery = awsEscape(r.URL.Path, true), query // what is signed is normalised
	for k, v := range header {
		r.Header.Set(k, v)
	}
	if payload == "" {
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
	}
	r.Header.Set("X-Amz-Content-Sha256", payload)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(context.Background(), aws.Credentials{AccessKeyID: account.AccessKeyID, SecretAccessKey: account.SecretAccessKey}, r, payload, "s3", region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r.URL.RawPath = plain
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp, readAll(t, resp.Body)
}

// wantS3 sends a request and checks status and error code.
func wantS3(t *testing.T, s *Sim, status int, code, method, path string, body []byte, payload string, header map[string]string) {
	t.Helper()
	resp, text := s3Do(t, s, method, path, body, payload, header)
	var e struct{ Code string }
	if status >= 400 && xml.Unmarshal([]byte(text), &e) != nil {
		t.Errorf("%s %s: %s is not an error of S3", method, clip(path, 100), text)
	}
	if resp.StatusCode != status || e.Code != code {
		t.Errorf("%s %s: %d %s, want %d %s (%s)", method, clip(path, 100), resp.StatusCode, e.Code, status, code, text)
	}
}

func withState(t *testing.T) (string, func(*Config)) {
	dir := t.TempDir()
	return dir, func(c *Config) { c.StateDir = dir }
}

// TestS3WithTheAWSCommand: mb, cp, ls, rm, rb's refusal, s3api with paging.
func TestS3WithTheAWSCommand(t *testing.T) {
	state, stateDir := withState(t)
	given := t.TempDir()
	writeFile(t, given, "there.txt", "from before")
	s := startSim(t, stateDir, func(c *Config) { c.Buckets = map[string]string{"given-bucket": given} })
	dir := t.TempDir()
	file := writeFile(t, dir, "hello.txt", "hello")
	mustCLI(t, s, "s3", "mb", "s3://factory-data")
	mustCLI(t, s, "s3", "cp", file, "s3://factory-data/line 7/a+b/é.txt")
	if b, err := os.ReadFile(filepath.Join(state, "s3", "factory-data", "line%207", "a+b", "%C3%A9.txt")); err != nil || string(b) != "hello" {
		t.Errorf("the object's file: %q %v", b, err)
	}
	if _, out := s3Do(t, s, "GET", "/", nil, "", nil); !strings.Contains(out, "<Name>factory-data</Name>") || !strings.Contains(out, "<Name>given-bucket</Name>") {
		t.Errorf("buckets:\n%s", out)
	}
	if out := mustCLI(t, s, "s3", "ls", "s3://factory-data/line 7/"); !strings.Contains(out, "PRE a+b/") {
		t.Errorf("listing:\n%s", out)
	}
	back := filepath.Join(dir, "back.txt")
	mustCLI(t, s, "s3", "cp", "s3://factory-data/line 7/a+b/é.txt", back)
	if b, err := os.ReadFile(back); err != nil || string(b) != "hello" {
		t.Errorf("copied back: %q %v", b, err)
	}
	if _, text := s3Do(t, s, "GET", "/given-bucket/there.txt", nil, "", nil); text != "from before" {
		t.Errorf("read from the given bucket: %q", text)
	}
	if out := mustCLI(t, s, "s3api", "head-object", "--bucket", "factory-data", "--key", "line 7/a+b/é.txt", "--query", "[ContentLength,ETag]"); out != "5\t\"5d41402abc4b2a76b9719d911017c592\"" {
		t.Errorf("head: %q", out)
	}
	for i := range 7 {
		mustPut(t, s, fmt.Sprintf("n/%d/x", i), "1")
	}
	mustPut(t, s, "n/last", "1")
	out := mustCLI(t, s, "s3api", "list-objects-v2", "--bucket", "factory-data", "--prefix", "n/", "--page-size", "3", "--query", "Contents[].Key")
	if got := strings.Fields(out); len(got) != 8 || got[0] != "n/0/x" || got[7] != "n/last" {
		t.Errorf("paged: %v", got)
	}
	var prefixes []string
	token := ""
	for range 9 {
		_, text := s3Do(t, s, "GET", "/factory-data?list-type=2&prefix=n%2F&delimiter=%2F&max-keys=2&continuation-token="+url.QueryEscape(token), nil, "", nil)
		var page listingXML
		if err := xml.Unmarshal([]byte(text), &page); err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Prefixes {
			prefixes = append(prefixes, p.Prefix)
		}
		if token = page.Next; token == "" {
			break
		}
	}
	if len(prefixes) != 7 || prefixes[6] != "n/6/" || token != "" {
		t.Errorf("paged prefixes: %v", prefixes)
	}
	mustCLI(t, s, "s3", "rm", "--recursive", "s3://factory-data")
	if entries, err := os.ReadDir(filepath.Join(state, "s3", "factory-data")); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	for _, args := range [][]string{
		{"s3", "cp", "s3://factory-data/nothing", back}, {"s3", "rb", "s3://factory-data"},
	} {
		if out, err := awsCLI(t, s, args...); err == nil {
			t.Errorf("aws %s succeeded: %s", strings.Join(args, " "), out)
		}
	}
	// More than 8 MiB goes in parts, which are not here: the refusal says so.
	big := writeFile(t, dir, "big", strings.Repeat("x", 9<<20))
	if _, err := awsCLI(t, s, "s3", "cp", big, "s3://factory-data/big"); err == nil || !strings.Contains(err.Error(), "NotImplemented") {
		t.Errorf("a multipart upload: %v", err)
	}
}

func mustPut(t *testing.T, s *Sim, key, text string) {
	t.Helper()
	wantS3(t, s, 200, "", "PUT", "/factory-data/"+key, []byte(text), "", nil)
}

func TestObjectPath(t *testing.T) {
	for key, want := range map[string]string{
		"a": "a", "a/b/c.txt": "a/b/c.txt", "test-rule/rule1/1579637878451": "test-rule/rule1/1579637878451", "..": "%2E.", ".": "%2E", "a/../b": "a/%2E./b",
		"/etc/passwd": "%/etc/passwd", "a//b": "a/%/b", "a/": "a/%", "100%": "100%25", "%2E": "%252E", ".hidden": "%2Ehidden", `a\b`: "a%5Cb", "a\x00b": "a%00b", "é": "%C3%A9", "a:b*": "a%3Ab%2A",
	} {
		have, err := objectPath(key)
		if err != nil || have != want {
			t.Errorf("%q: %q %v, want %q", key, have, err, want)
		}
		if back, ok := objectKey(want); !ok || back != key {
			t.Errorf("%q came back as %q %v", key, back, ok)
		}
	}
	for _, key := range []string{"", "\xff", strings.Repeat("x", maxObjectKey+1), strings.Repeat("x", 256), strings.Repeat("é", 86)} {
		if name, err := objectPath(key); err == nil {
			t.Errorf("%q is %q", clip(key, 40), name)
		}
	}
	for _, name := range []string{".hidden", "a%", "a%2", "%zz", "%41", "a/.b", "%2e", "a/%20/.x", "..", "a/%2E%2E"} {
		if key, ok := objectKey(name); ok {
			t.Errorf("the file %q is the object %q", name, key)
		}
	}
}

func FuzzObjectPath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "%2E%2E/", "a//", "\x00", "é", ".upload-x", "a\\..\\b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		objectKey(key) // as a file name: must not panic
		name, err := objectPath(key)
		if err != nil {
			return
		}
		if !fs.ValidPath(name) || name == "." || !filepath.IsLocal(name) {
			t.Errorf("%q leaves the bucket as %q", key, name)
		}
		for _, e := range strings.Split(name, "/") {
			if strings.HasPrefix(e, ".") || len(e) > maxElement {
				t.Errorf("%q has the element %q", key, e)
			}
		}
		if back, ok := objectKey(name); !ok || back != key {
			t.Errorf("%q came back as %q", key, back)
		}
	})
}

// TestS3Traversal: neither keys nor symbolic links nor bucket names lead out.
func TestS3Traversal(t *testing.T) {
	outer := t.TempDir()
	state := filepath.Join(outer, "state")
	if err := os.MkdirAll(filepath.Join(state, "s3", "factory-data"), 0o700); err != nil {
		t.Fatal(err)
	}
	secret := writeFile(t, outer, "secret", "do not read")
	s := startSim(t, func(c *Config) { c.StateDir = state })
	for _, path := range []string{
		"/factory-data/../../../secret", "/factory-data/%2e%2e/%2e%2e/%2e%2e/secret", "/factory-data/..%2f..%2f..%2fsecret", "/factory-data//etc/passwd",
		"/factory-data/a/..%5c..%5csecret",
	} {
		if _, text := s3Do(t, s, "GET", path, nil, "", nil); strings.Contains(text, "do not read") || strings.Contains(text, "root:") {
			t.Errorf("%s read %q", path, text)
		}
		wantS3(t, s, 200, "", "PUT", path, []byte("written"), "", nil)
		if resp, text := s3Do(t, s, "GET", path, nil, "", nil); resp.StatusCode != 200 || text != "written" {
			t.Errorf("%s: %d %q", path, resp.StatusCode, text)
		}
	}
	for _, path := range []string{"/../s3/factory-data", "/%2e%2e/x", "/..%2fx/y", "/FACTORY/x", "/a/x", "/fact..ory/x"} {
		wantS3(t, s, 400, "InvalidBucketName", "PUT", path, nil, "", nil)
	}
	for name, target := range map[string]string{"link": secret, "dir": outer} {
		if err := os.Symlink(target, filepath.Join(state, "s3", "factory-data", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outer, filepath.Join(state, "s3", "linked-bucket")); err != nil {
		t.Fatal(err)
	}
	wantS3(t, s, 404, "NoSuchKey", "GET", "/factory-data/link", nil, "", nil)
	wantS3(t, s, 404, "NoSuchKey", "GET", "/factory-data/dir/secret", nil, "", nil)
	if resp, text := s3Do(t, s, "PUT", "/factory-data/dir/new", []byte("x"), "", nil); resp.StatusCode < 400 {
		t.Errorf("written through a link: %s", text)
	}
	if resp, text := s3Do(t, s, "GET", "/factory-data?list-type=2", nil, "", nil); resp.StatusCode != 200 || strings.Contains(text, "<Key>link") || strings.Contains(text, "dir/secret") {
		t.Errorf("listing: %s", text)
	}
	if _, text := s3Do(t, s, "GET", "/", nil, "", nil); strings.Contains(text, "linked-bucket") {
		t.Errorf("buckets: %s", text)
	}
	entries, err := os.ReadDir(outer)
	if err != nil || len(entries) != 2 {
		t.Errorf("outside of the buckets: %v %v", entries, err)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "do not read" {
		t.Errorf("the secret: %q %v", b, err)
	}
}

// TestS3Owners: a bucket that an account has created is its own, also after a
// restart; those that nobody has created belong to all.
func TestS3Owners(t *testing.T) {
	state, stateDir := withState(t)
	given := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "s3", "by-hand"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := func(c *Config) { c.Buckets = map[string]string{"given-bucket": given} }
	s := startSim(t, stateDir, config)
	as := func(a Account, status int, code, method, path, body string) string {
		t.Helper()
		resp, text := s3DoAs(t, s, a, method, path, []byte(body), "", nil)
		var e struct{ Code string }
		if status >= 400 && method != "HEAD" && xml.Unmarshal([]byte(text), &e) != nil || resp.StatusCode != status || e.Code != code {
			t.Errorf("%s %s of %s: %d %s, want %d %s (%s)", method, path, a.ID, resp.StatusCode, e.Code, status, code, text)
		}
		return text
	}
	as(first, 200, "", "PUT", "/factory-data", "")
	as(first, 200, "", "PUT", "/factory-data/a", "hello")
	for range 2 {
		as(first, 409, "BucketAlreadyOwnedByYou", "PUT", "/factory-data", "")
		as(second, 409, "BucketAlreadyExists", "PUT", "/factory-data", "")
		for _, tt := range []struct{ method, path string }{
			{"GET", "/factory-data/a"}, {"HEAD", "/factory-data/a"}, {"PUT", "/factory-data/b"}, {"DELETE", "/factory-data/a"}, {"GET", "/factory-data?list-type=2"},
			{"HEAD", "/factory-data"},
		} {
			code := "AccessDenied"
			if tt.method == "HEAD" {
				code = "" // no body
			}
			as(second, 403, code, tt.method, tt.path, "")
		}
		if text := as(second, 200, "", "GET", "/", ""); strings.Contains(text, "factory-data") || !strings.Contains(text, "by-hand") {
			t.Errorf("buckets of the other account: %s", text)
		}
		if text := as(first, 200, "", "GET", "/factory-data/a", ""); text != "hello" {
			t.Errorf("the owner reads %q", text)
		}
		for _, bucket := range []string{"given-bucket", "by-hand"} {
			as(first, 200, "", "PUT", "/"+bucket+"/x", "1")
			as(second, 200, "", "PUT", "/"+bucket+"/x", "2")
		}
		s.Close()
		s = startSim(t, stateDir, config)
	}
	// Rules write, and bulk registrations read, what their account may.
	for a, want := range map[Account]int{first: 200, second: 403} {
		w, err := s.world(a, region)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{w.writeObject("factory-data", "by-rule", nil), func() error { _, err := w.readObject("factory-data", "a"); return err }()} {
			var api *apiError
			if want == 200 && err != nil || want == 403 && (!errors.As(err, &api) || api.code != "AccessDenied") {
				t.Errorf("account %s: %v", a.ID, err)
			}
		}
	}
}

// TestS3Full: a full bucket takes no further object, but what is there can be
// replaced, and room comes back.
func TestS3Full(t *testing.T) {
	state, stateDir := withState(t)
	s := startSim(t, stateDir)
	s.objects.limit = 3
	wantS3(t, s, 200, "", "PUT", "/factory-data", nil, "", nil)
	writeFile(t, filepath.Join(state, "s3", "factory-data"), "by-hand", "1")
	mustPut(t, s, "a", "1")
	mustPut(t, s, "b/c", "1")
	wantS3(t, s, 501, "SimulatorNotImplemented", "PUT", "/factory-data/d", []byte("1"), "", nil)
	wantS3(t, s, 404, "NoSuchKey", "GET", "/factory-data/d", nil, "", nil)
	mustPut(t, s, "a", "2")
	wantS3(t, s, 204, "", "DELETE", "/factory-data/b/c", nil, "", nil)
	wantS3(t, s, 204, "", "DELETE", "/factory-data/b/c", nil, "", nil)
	mustPut(t, s, "d", "1")
	wantS3(t, s, 501, "SimulatorNotImplemented", "PUT", "/factory-data/e", []byte("1"), "", nil)
}

func TestS3Refused(t *testing.T) {
	_, stateDir := withState(t)
	s := startSim(t, stateDir)
	wantS3(t, s, 200, "", "PUT", "/factory-data", nil, "", nil)
	wantS3(t, s, 409, "BucketAlreadyOwnedByYou", "PUT", "/factory-data", nil, "", nil)
	mustPut(t, s, "a/b", "hello")
	for _, tt := range []struct {
		status            int
		code, method, url string
		body              string
		header            map[string]string
	}{
		{404, "NoSuchKey", "GET", "/factory-data/nothing", "", nil},
		{404, "NoSuchKey", "GET", "/factory-data/a", "", nil}, // a directory
		{404, "NoSuchBucket", "GET", "/nowhere/x", "", nil},
		{404, "NoSuchBucket", "GET", "/nowhere?list-type=2", "", nil},
		{404, "NoSuchBucket", "PUT", "/nowhere/x", "x", nil},
		{501, "NotImplemented", "GET", "/factory-data", "", nil}, // the first version of the listing
		{501, "NotImplemented", "GET", "/factory-data?list-type=2&max-keysx=1", "", nil},
		{501, "NotImplemented", "GET", "/factory-data?versioning", "", nil},
		{501, "NotImplemented", "POST", "/factory-data/x?uploads", "", nil},
		{501, "NotImplemented", "DELETE", "/factory-data", "", nil},
		{501, "NotImplemented", "PUT", "/factory-data/x?tagging", "", nil},
		{501, "NotImplemented", "PUT", "/factory-data/x", "x", map[string]string{"x-amz-meta-line": "7"}},
		{501, "NotImplemented", "PUT", "/factory-data/x", "x", map[string]string{"x-amz-acl": "public-read"}},
		{501, "NotImplemented", "PUT", "/factory-data/x", "x", map[string]string{"If-None-Match": `"1"`}},
		{501, "NotImplemented", "PUT", "/factory-data/x", "x", map[string]string{"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}},
		{412, "PreconditionFailed", "PUT", "/factory-data/a/b", "x", map[string]string{"If-None-Match": "*"}},
		{412, "PreconditionFailed", "PUT", "/factory-data/a/b", "x", map[string]string{"If-Match": `"00000000000000000000000000000000"`}},
		{404, "NoSuchKey", "PUT", "/factory-data/x", "x", map[string]string{"If-Match": `"00000000000000000000000000000000"`}},
		{501, "NotImplemented", "PUT", "/factory-data/x", "", map[string]string{"x-amz-copy-source": "/factory-data/a/b"}},
		{501, "SimulatorNotImplemented", "PUT", "/factory-data/a", "x", nil},     // a directory is there
		{501, "SimulatorNotImplemented", "PUT", "/factory-data/a/b/c", "x", nil}, // an object is there
		{501, "SimulatorNotImplemented", "PUT", "/factory-data/" + strings.Repeat("x", 300), "x", nil},
		{400, "KeyTooLongError", "PUT", "/factory-data/" + strings.Repeat("x/", 600), "x", nil},
		{400, "InvalidArgument", "PUT", "/factory-data/%ff", "x", nil},
		{400, "InvalidArgument", "GET", "/factory-data?list-type=2&max-keys=many", "", nil},
		{400, "InvalidArgument", "GET", "/factory-data?list-type=2&continuation-token=!", "", nil},
		{400, "InvalidArgument", "GET", "/factory-data?list-type=2&encoding-type=hex", "", nil},
		{400, "BadDigest", "PUT", "/factory-data/x", "x", map[string]string{"Content-MD5": "XUFAKrxLKna5cZ2REBfFkg=="}},
		{400, "BadDigest", "PUT", "/factory-data/x", "x", map[string]string{"x-amz-checksum-crc32": "AAAAAA=="}},
		{400, "IllegalLocationConstraintException", "PUT", "/other-data", "<CreateBucketConfiguration><LocationConstraint>us-west-2</LocationConstraint></CreateBucketConfiguration>", nil},
		{400, "MalformedXML", "PUT", "/other-data", "<", nil},
		{403, "AccessDenied", "GET", "/factory-data/a/b", "", map[string]string{"x-amz-expected-bucket-owner": second.ID}},
	} {
		wantS3(t, s, tt.status, tt.code, tt.method, tt.url, []byte(tt.body), "", tt.header)
	}
	wantS3(t, s, 403, "SignatureDoesNotMatch", "PUT", "/factory-data/x", []byte("x"), strings.Repeat("0", 64), nil)
	wantS3(t, s, 501, "NotImplemented", "PUT", "/factory-data/x", []byte("x"), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", nil)
	if resp, err := http.Get(s.ControlURL() + "/factory-data/a/b"); err != nil || resp.StatusCode != 403 {
		t.Errorf("without a signature: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	// Without a state directory there is no place for buckets.
	wantS3(t, startSim(t), 501, "SimulatorNotImplemented", "PUT", "/factory-data", nil, "", nil)
}

// TestS3Payloads: signed, unsigned, and in chunks with a checksum in the trailer.
func TestS3Payloads(t *testing.T) {
	if sum := crc64.Checksum([]byte("123456789"), crc64NVME); sum != 0xae8b14860a799888 {
		t.Errorf("CRC-64/NVME of the check string: %x", sum)
	}
	_, stateDir := withState(t)
	s := startSim(t, stateDir)
	wantS3(t, s, 200, "", "PUT", "/factory-data", nil, "", nil)
	wantS3(t, s, 200, "", "PUT", "/factory-data/u", []byte("hello"), unsignedPayload, map[string]string{"x-amz-checksum-crc32": "NhCmhg=="})
	chunks := "3\r\nhel\r\n2\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
	header := map[string]string{"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": "5", "X-Amz-Trailer": "x-amz-checksum-crc32"}
	wantS3(t, s, 200, "", "PUT", "/factory-data/c", []byte(chunks), unsignedTrailer, header)
	for _, key := range []string{"u", "c"} {
		if resp, text := s3Do(t, s, "GET", "/factory-data/"+key, nil, "", map[string]string{"Range": "bytes=1-3"}); resp.StatusCode != 206 || text != "ell" {
			t.Errorf("%s: %d %q", key, resp.StatusCode, text)
		}
	}
	wantS3(t, s, 400, "BadDigest", "PUT", "/factory-data/c", []byte(strings.Replace(chunks, "hel", "hal", 1)), unsignedTrailer, header)
	wantS3(t, s, 400, "MalformedTrailerError", "PUT", "/factory-data/c", []byte("5\r\nhello\r\n0\r\n\r\n"), unsignedTrailer, header)
	for _, body := range []string{"", "5", "5\r\nhell", "5\r\nhelloXX0\r\n\r\n", "zz\r\n", "-1\r\n", "fffffffff\r\n", "0\r\nno colon\r\n\r\n", "0\r\n\r\nmore", "5\r\nhello\r\n"} {
		wantS3(t, s, 400, "IncompleteBody", "PUT", "/factory-data/c", []byte(body), unsignedTrailer, map[string]string{"X-Amz-Decoded-Content-Length": "5"})
	}
	wantS3(t, s, 400, "InvalidRequest", "PUT", "/factory-data/c", []byte(chunks), "", map[string]string{"Content-Encoding": "aws-chunked"})
	if resp, text := s3Do(t, s, "GET", "/factory-data/c", nil, "", nil); text != "hello" || resp.Header.Get("ETag") != `"5d41402abc4b2a76b9719d911017c592"` {
		t.Errorf("after the refusals: %q %v", text, resp.Header)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nhel\r\n2\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"))
	f.Add([]byte("0\r\n\r\n"))
	f.Add([]byte("ffffffff\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		data, trailer, err := decodeChunks(body)
		if err != nil && (data != nil || trailer != nil) {
			t.Error("data together with an error")
		}
		if err == nil {
			again, _, err := decodeChunks([]byte(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(data), data)))
			if len(data) > 0 && (err != nil || !bytes.Equal(again, data)) {
				t.Errorf("%q came back as %q %v", data, again, err)
			}
		}
	})
}

// TestS3Configuration: buckets that cannot be.
func TestS3Configuration(t *testing.T) {
	file := writeFile(t, t.TempDir(), "file", "")
	for name, dir := range map[string]string{"UPPER": t.TempDir(), "no-dir": file, "not-there": filepath.Join(t.TempDir(), "x")} {
		if s, err := Start(context.Background(), Config{Accounts: []Account{first}, Buckets: map[string]string{name: dir}}); err == nil {
			s.Close()
			t.Errorf("bucket %s of %s was taken", name, dir)
		}
	}
}
