// Package awshttp keeps a race of the AWS SDK's from breaking answers.
//
// The SDK closes a request's body as soon as it has the head of the answer. Its
// body then answers WriteTo with io.EOF, which io.Copy takes for a failure, unlike
// the io.EOF of Read. net/http may still be looking whether the body has ended: it
// then thinks that the request failed to be written, closes the connection, and
// whatever of the answer had not been read is lost, with "use of closed network
// connection" (smithy-go v1.28, transport/http/internal/io/safe.go). It takes a
// large answer and a busy machine.
package awshttp

import (
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	transport "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// Wrap returns a client that sends the same requests over inner, or over the SDK's
// own if that is nil. It may be used concurrently if inner may.
func Wrap(inner aws.HTTPClient) aws.HTTPClient {
	if inner == nil {
		inner = transport.NewBuildableClient()
	}
	return client{inner}
}

type client struct{ inner aws.HTTPClient }

// Do implements aws.HTTPClient. The request is the SDK's own copy.
func (c client) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = body{r.Body}
	}
	return c.inner.Do(r)
}

// body has no WriteTo.
type body struct{ inner io.ReadCloser }

func (b body) Read(p []byte) (int, error) { return b.inner.Read(p) }
func (b body) Close() error               { return b.inner.Close() }
