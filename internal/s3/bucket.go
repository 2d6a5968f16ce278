// Package s3 writes and reads objects of one bucket of Amazon S3, or of a store that
// speaks S3.
//
// It speaks the two requests itself, with the SDK's signer: the SDK's client of S3 is
// larger than all that the server has use for.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Config says which bucket, and how to get there.
type Config struct {
	// AWS has region and credentials. Required.
	AWS aws.Config
	// Bucket is required.
	Bucket string
	// Prefix stands before every name; a folder ends in a slash.
	Prefix string
	// Endpoint replaces AWS's own address, for stores that speak S3.
	Endpoint string
}

// Bucket is one bucket. Safe for concurrent use.
type Bucket struct {
	config Config
	base   string // the address of an object without its name
	signer *v4.Signer
	client *http.Client
}

// plain are the characters that every side writes alike in a signed path.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-/"

// Open checks the configuration; it asks nobody.
func Open(c Config) (*Bucket, error) {
	if c.AWS.Region == "" || c.AWS.Credentials == nil || c.Bucket == "" {
		return nil, errors.New("a bucket of S3 needs a name, a region and credentials")
	}
	if strings.Trim(c.Bucket+c.Prefix, plain) != "" || strings.HasPrefix(c.Prefix, "/") {
		return nil, fmt.Errorf("bucket %q and prefix %q may hold letters, digits and . _ ~ - /, and no slash first", c.Bucket, c.Prefix)
	}
	base, err := bucketURL(c)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	return &Bucket{
		config: c, base: base + c.Prefix,
		// S3 signs the path as it is sent (Signature Version 4, canonical URI).
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }),
		client: &http.Client{
			Transport: transport,
			// A redirect would take the signature elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Name is bucket and prefix.
func (b *Bucket) Name() string { return b.config.Bucket + "/" + b.config.Prefix }

// URL is the address of an object.
func (b *Bucket) URL(name string) string { return b.base + name }

// Sign says in a request who asks.
func (b *Bucket) Sign(r *http.Request, body []byte) error {
	credentials, err := b.config.AWS.Credentials.Retrieve(r.Context())
	if err != nil {
		return fmt.Errorf("getting AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	if err := b.signer.SignHTTP(r.Context(), credentials, r, hash, "s3", b.config.AWS.Region, time.Now()); err != nil {
		return fmt.Errorf("signing for S3: %w", err)
	}
	return nil
}

// Answer is what the store says.
type Answer struct {
	Status int
	ETag   string
	Body   []byte // of an answer that is no success, at most its beginning
}

// mostSaid bounds what is read of the text of an error.
const mostSaid = 4 << 10

// Get reads an object. One of more than limit bytes is an error; one that is not there
// is an Answer.
func (b *Bucket) Get(ctx context.Context, name string, limit int64) (Answer, error) {
	return b.do(ctx, http.MethodGet, name, nil, nil, limit)
}

// Put writes an object under the headers, conditional ones among them. Whether the store
// took it is said by the Answer.
func (b *Bucket) Put(ctx context.Context, name string, header http.Header, content []byte) (Answer, error) {
	return b.do(ctx, http.MethodPut, name, header, content, mostSaid)
}

func (b *Bucket) do(ctx context.Context, method, name string, header http.Header, content []byte, limit int64) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, b.base+name, bytes.NewReader(content))
	if err != nil {
		return Answer{}, err
	}
	for key, values := range header {
		r.Header[key] = values
	}
	if err := b.Sign(r, content); err != nil {
		return Answer{}, err
	}
	answer, err := b.client.Do(r)
	if err != nil {
		// The error of a client names the address, never a header.
		return Answer{}, err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		limit = mostSaid
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, b.base+name, err)
	}
	if int64(len(body)) > limit {
		if answer.StatusCode/100 == 2 {
			return Answer{}, fmt.Errorf("%s %s: the answer has more than %d bytes", method, b.base+name, limit)
		}
		body = body[:limit]
	}
	return Answer{Status: answer.StatusCode, ETag: answer.Header.Get("ETag"), Body: body}, nil
}

// bucketURL is where objects of the bucket are. A name with dots has no
// certificate as a host, and other stores rarely have one at all: these take
// the bucket in the path.
func bucketURL(c Config) (string, error) {
	host := "https://s3." + c.AWS.Region + "." + domain(c.AWS.Region)
	inPath := true
	switch {
	case c.Endpoint != "":
		host = strings.TrimSuffix(c.Endpoint, "/")
	case !strings.Contains(c.Bucket, "."):
		host, inPath = strings.Replace(host, "https://", "https://"+c.Bucket+".", 1), false
	}
	base, err := url.Parse(host)
	if err != nil || base.Host == "" || base.RawQuery != "" || base.User != nil {
		return "", fmt.Errorf("%q is not the address of a store", c.Endpoint)
	}
	if base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return "", fmt.Errorf("%s: another host is written to over https only", c.Endpoint)
	}
	if inPath {
		base = base.JoinPath(c.Bucket)
	}
	return strings.TrimSuffix(base.String(), "/") + "/", nil
}

// domain is the DNS suffix of a region's partition.
func domain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
