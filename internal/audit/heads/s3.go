package heads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// bucket keeps heads as objects.
type bucket struct {
	client       *s3.Client
	name, prefix string
}

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

// S3 is a bucket. Objects are written only where none is: the store must know
// If-None-Match.
func S3(c S3Config) Target {
	client := s3.NewFromConfig(c.AWS, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
			o.UsePathStyle = true // no name has to resolve for a bucket
		}
		o.RetryMaxAttempts = 2 // the exporter tries again, too
	})
	return &bucket{client: client, name: c.Bucket, prefix: c.Prefix}
}

func (b *bucket) Name() string { return "s3 " + b.name + "/" + b.prefix }

// Put implements Target.
func (b *bucket) Put(ctx context.Context, name string, signed []byte) error {
	key := b.prefix + name
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(b.name), Key: aws.String(key), Body: bytes.NewReader(signed),
		ContentType: aws.String("text/plain; charset=utf-8"), IfNoneMatch: aws.String("*"),
	})
	if err == nil {
		return nil
	}
	// S3 answers 412 if the object is there and 409 if it is being written.
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() != http.StatusPreconditionFailed && answer.HTTPStatusCode() != http.StatusConflict {
		return fmt.Errorf("keeping head: %w", err)
	}
	object, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	if err != nil {
		return fmt.Errorf("reading the head that is there: %w", err)
	}
	defer object.Body.Close()
	have, err := readBounded(object.Body)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, signed) {
		return fmt.Errorf("s3://%s/%s: %w", b.name, key, ErrConflict)
	}
	return nil
}
