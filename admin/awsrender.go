package admin

import (
	"context"
	"net/http"
	"net/url"
)

// AWSCode is where the bundle of the Lambda functions will be.
type AWSCode struct {
	Bucket       string `json:"bucket"`
	Key          string `json:"key,omitempty"`
	Architecture string `json:"architecture,omitempty"` // arm64 or x86_64
}

// AWSFiles are the stacks and documents of a target.
type AWSFiles struct {
	Files []AWSFile `json:"files"`
}

// AWSFile is one of them; its name may have a folder.
type AWSFile struct {
	Name    string `json:"name"`
	Content string `json:"content"`
	Script  bool   `json:"script,omitempty"`
}

// AWSRender returns the stacks and documents of a target. It makes no call to AWS.
func (c *Client) AWSRender(ctx context.Context, target string, code AWSCode) (AWSFiles, error) {
	query := url.Values{"bucket": {code.Bucket}, "key": {code.Key}, "architecture": {code.Architecture}}
	return call[AWSFiles](ctx, c, http.MethodGet, awsPath(target)+"/files", query, nil)
}
