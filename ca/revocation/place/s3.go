package place

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"mintmark/ca/revocation"
	"mintmark/internal/s3"
)

// bucket is a bucket of S3.
type bucket struct{ *s3.Bucket }

// S3 is a bucket of S3, for it or a CDN before it to serve.
func S3(c s3.Config) (revocation.Place, error) {
	b, err := s3.Open(c)
	if err != nil {
		return nil, err
	}
	return bucket{b}, nil
}

func (b bucket) Name() string { return "s3 " + b.Bucket.Name() }

// Get implements revocation.Place. The version is the ETag.
func (b bucket) Get(ctx context.Context, name string) ([]byte, string, error) {
	answer, err := b.Bucket.Get(ctx, name, revocation.MaxFile)
	switch {
	case err != nil:
		return nil, "", err
	case answer.Status == http.StatusNotFound:
		// Also said of a bucket that does not exist, which writing shows.
		return nil, "", nil
	case answer.Status != http.StatusOK:
		return nil, "", fmt.Errorf("GET %s answers status %d: %.200q", b.URL(name), answer.Status, answer.Body)
	}
	return append([]byte{}, answer.Body...), answer.ETag, nil
}

// Put implements revocation.Place. The condition is S3's own (Amazon S3 user guide,
// conditional writes). A store that does not know it answers 501; there an older CRL could
// replace a newer one, written by a server that has read the place just before. The next
// look at it, some seconds later, puts the newer one back, and until then what was revoked
// last is not on the list there.
func (b bucket) Put(ctx context.Context, name string, file revocation.File, version string) error {
	header := http.Header{
		"Content-Type":  {file.Type},
		"Cache-Control": {file.CacheControl()},
	}
	if version == "" {
		header.Set("If-None-Match", "*")
	} else {
		header.Set("If-Match", version)
	}
	answer, err := b.Bucket.Put(ctx, name, header, file.Content)
	if err == nil && answer.Status == http.StatusNotImplemented {
		header.Del("If-None-Match")
		header.Del("If-Match")
		answer, err = b.Bucket.Put(ctx, name, header, file.Content)
	}
	switch {
	case err != nil:
		return err
	case answer.Status == http.StatusPreconditionFailed, answer.Status == http.StatusConflict,
		answer.Status == http.StatusNotFound && version != "" && !bytes.Contains(answer.Body, []byte("NoSuchBucket")):
		return fmt.Errorf("%s: %w", b.URL(name), revocation.ErrChanged)
	case answer.Status/100 != 2:
		return fmt.Errorf("PUT %s answers status %d: %.200q", b.URL(name), answer.Status, answer.Body)
	}
	return nil
}
