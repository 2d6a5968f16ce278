package heads

import (
	"fmt"

	"mintmark/internal/s3"
)

// S3Config says which bucket, best one with object lock, and how to get there.
type S3Config = s3.Config

// S3 is a bucket. Objects are written only where none is: the store must know
// If-None-Match (Amazon S3 API reference, PutObject).
func S3(c S3Config) (Target, error) {
	bucket, err := s3.Open(c)
	if err != nil {
		return nil, fmt.Errorf("heads in S3: %w", err)
	}
	t := newWeb("s3 "+bucket.Name(), bucket.URL(""))
	t.authorize = bucket.Sign
	return t, nil
}
