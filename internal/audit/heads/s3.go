package heads

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// S3Config says which bucket, and how to get there.
type S3Config struct {
	// AWS has region and credentials. Required.
	AWS aws.Config
	// Bucket is best one with object lock. Required.
	Bucket string
	// Prefix stands before every name; a folder ends in a slash.
	Prefix string
	// Endpoint replaces AWS's own address, for stores that speak S3.
	Endpoint string
}

// plain are the characters that every side writes alike in a signed path.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-/"

// S3 is a bucket. Objects are written only where none is: the store must know
// If-None-Match (Amazon S3 API reference, PutObject).
//
// It speaks the two requests itself, with the SDK's signer: the SDK's client of
// S3 is larger than all that the server has for audit.
func S3(c S3Config) (Target, error) {
	if c.AWS.Region == "" || c.AWS.Credentials == nil || c.Bucket == "" {
		return nil, errors.New("heads in S3 need a bucket, a region and credentials")
	}
	if strings.Trim(c.Bucket+c.Prefix, plain) != "" || strings.HasPrefix(c.Prefix, "/") {
		return nil, fmt.Errorf("heads in S3: bucket %q and prefix %q may hold letters, digits and . _ ~ - /, and no slash first", c.Bucket, c.Prefix)
	}
	base, err := bucketURL(c)
	if err != nil {
		return nil, err
	}
	t := newWeb("s3 "+c.Bucket+"/"+c.Prefix, base+c.Prefix)
	// S3 signs the path as it is sent (Signature Version 4, canonical URI).
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	t.authorize = func(r *http.Request, body []byte) error {
		credentials, err := c.AWS.Credentials.Retrieve(r.Context())
		if err != nil {
			return fmt.Errorf("getting AWS credentials: %w", err)
		}
		sum := sha256.Sum256(body)
		hash := hex.EncodeToString(sum[:])
		r.Header.Set("X-Amz-Content-Sha256", hash)
		if err := signer.SignHTTP(r.Context(), credentials, r, hash, "s3", c.AWS.Region, time.Now()); err != nil {
			return fmt.Errorf("signing for S3: %w", err)
		}
		return nil
	}
	return t, nil
}

// bucketURL is where objects of the prefix are. A name with dots has no
// certificate as a host, and other stores rarely have one at all: these take
// the bucket in the path.
func bucketURL(c S3Config) (string, error) {
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
		return "", fmt.Errorf("heads in S3: %q is not the address of a store", c.Endpoint)
	}
	if base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return "", fmt.Errorf("heads in S3: %s: heads go to another host over https only", c.Endpoint)
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
