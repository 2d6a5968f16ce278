package s3

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// TestBucketURL pins where objects go (Amazon S3 user guide, virtual hosting of
// buckets).
func TestBucketURL(t *testing.T) {
	for want, c := range map[string]Config{
		"https://audit.s3.eu-central-1.amazonaws.com/":         {AWS: aws.Config{Region: "eu-central-1"}, Bucket: "audit"},
		"https://audit.s3.cn-north-1.amazonaws.com.cn/":        {AWS: aws.Config{Region: "cn-north-1"}, Bucket: "audit"},
		"https://s3.eu-central-1.amazonaws.com/audit.example/": {AWS: aws.Config{Region: "eu-central-1"}, Bucket: "audit.example"},
		"https://minio.example:9000/store/audit/":              {AWS: aws.Config{Region: "eu-central-1"}, Bucket: "audit", Endpoint: "https://minio.example:9000/store/"},
	} {
		if got, err := bucketURL(c); err != nil || got != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
