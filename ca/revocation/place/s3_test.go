package place

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mintmark/awsreg/awssim"
	"mintmark/internal/pkitest"
	"mintmark/internal/s3"
)

const region = "eu-central-1"

var account = awssim.Account{ID: "123456789012", AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}

func config(endpoint, bucket string) s3.Config {
	return s3.Config{
		AWS:    aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, "")},
		Bucket: bucket, Prefix: "pki/", Endpoint: endpoint,
	}
}

// TestS3: the AWS command line reads what was written.
func TestS3(t *testing.T) {
	dir := t.TempDir()
	sim, err := awssim.Start(t.Context(), awssim.Config{Accounts: []awssim.Account{account}, Region: region, Buckets: map[string]string{"factory-crls": dir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	p, err := S3(config(sim.ControlURL(), "factory-crls"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, p)
	tool := pkitest.Tool(t, "aws")
	back := filepath.Join(t.TempDir(), "back")
	c := exec.CommandContext(t.Context(), tool, "--endpoint-url", sim.ControlURL(), "--region", region, "s3", "cp", "s3://factory-crls/pki/crl/line-a/1.crl", back)
	c.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+account.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+account.SecretAccessKey, "AWS_CONFIG_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("aws s3 cp: %v\n%s", err, out)
	}
	if content, err := os.ReadFile(back); err != nil || string(content) != "last" {
		t.Errorf("read back: %q %v", content, err)
	}

	other, err := S3(config(sim.ControlURL(), "no-such-bucket"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Put(t.Context(), "crl/a.crl", file([]byte("x")), ""); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Errorf("a bucket that is not there: %v", err)
	}
	sim.Inject(awssim.Fault{Operation: "s3:PutObject", Status: 503, Code: "SlowDown"})
	if err := p.Put(t.Context(), "crl/a.crl", file([]byte("x")), ""); err == nil || !strings.Contains(err.Error(), "503") || strings.Contains(err.Error(), account.SecretAccessKey) {
		t.Errorf("a store that fails: %v", err)
	}
	sim.ClearFaults()
}

// store is a store that speaks S3 and has no conditional writes if plain is set.
type store struct {
	mu     sync.Mutex
	plain  bool
	kept   map[string][]byte
	header map[string]http.Header
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	etag := func(b []byte) string {
		sum := md5.Sum(b)
		return `"` + hex.EncodeToString(sum[:]) + `"`
	}
	have, there := s.kept[r.URL.Path]
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case r.Method == http.MethodGet && there:
		w.Header().Set("ETag", etag(have))
		w.Write(have)
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusNotFound)
	case s.plain && match+none != "":
		w.WriteHeader(http.StatusNotImplemented)
	case none == "*" && there, match != "" && (!there || match != etag(have)):
		w.WriteHeader(http.StatusPreconditionFailed)
	default:
		body, _ := io.ReadAll(r.Body)
		s.kept[r.URL.Path], s.header[r.URL.Path] = body, r.Header
	}
}

// TestS3Headers: what caches are told goes along; a store without conditional writes is
// written to all the same.
func TestS3Headers(t *testing.T) {
	s := &store{kept: make(map[string][]byte), header: make(map[string]http.Header)}
	server := httptest.NewServer(s)
	defer server.Close()
	p, err := S3(config(server.URL, "crls"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, p)
	h := s.header["/crls/pki/crl/line-a/1.crl"]
	if h.Get("Content-Type") != "application/pkix-crl" || h.Get("Cache-Control") != "public, max-age=60" || !strings.HasPrefix(h.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		t.Errorf("headers %v", h)
	}
	s.plain = true
	if err := p.Put(t.Context(), "crl/b.crl", file([]byte("b")), ""); err != nil || string(s.kept["/crls/pki/crl/b.crl"]) != "b" {
		t.Errorf("without conditional writes: %v", err)
	}
	for _, c := range []s3.Config{config("http://192.0.2.1", "crls"), config(server.URL, "")} {
		if _, err := S3(c); err == nil {
			t.Errorf("bucket %q at %s was taken", c.Bucket, c.Endpoint)
		}
	}
}
