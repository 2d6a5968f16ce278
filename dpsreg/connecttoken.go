package dpsreg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"mintmark/dpsreg/rest"
)

// plainCredential gives a credential of azidentity errors that fit on a line. The
// SDK's text has the whole answer and many lines.
type plainCredential struct{ azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (c plainCredential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := c.TokenCredential.GetToken(ctx, options)
	if err != nil {
		err = &tokenError{err}
	}
	return token, err
}

// tokenError is a token that was not given.
type tokenError struct{ err error }

func (e *tokenError) Unwrap() error { return e.err }

// NonRetriable keeps the SDK from trying again by itself, as its own errors do.
func (e *tokenError) NonRetriable() {}

func (e *tokenError) Error() string {
	var refused *azidentity.AuthenticationFailedError
	if !errors.As(e.err, &refused) || refused.RawResponse == nil {
		return rest.Clean(e.err.Error())
	}
	// RFC 6749, 5.2, with Entra's own words in error_description.
	var in struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	body, err := runtime.Payload(refused.RawResponse) // which can be read again
	text := fmt.Sprintf("HTTP %d", refused.RawResponse.StatusCode)
	if err != nil || json.Unmarshal(body, &in) != nil || in.Code+in.Description == "" {
		return text + ": " + http.StatusText(refused.RawResponse.StatusCode)
	}
	return rest.Clean(fmt.Sprintf("%s, %s: %s", text, in.Code, in.Description))
}

// passing reports whether a token may be given later.
func (e *tokenError) passing() bool {
	var refused *azidentity.AuthenticationFailedError
	if !errors.As(e.err, &refused) {
		return false // there is no credential
	}
	// Without an answer it is the network: the SDK does not keep that error.
	answer := refused.RawResponse
	return answer == nil || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500
}
