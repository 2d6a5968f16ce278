package dpsreg

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"mintmark/dpsreg/rest"
)

// armAnswer is an answer that refuses, as the SDK hands it on.
func armAnswer(status int, body string) error {
	request, _ := http.NewRequest("GET", "https://management.azure.com/subscriptions/a", nil)
	return runtime.NewResponseError(&http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Request: request, Body: io.NopCloser(strings.NewReader(body)),
		Header: http.Header{"Retry-After": {"7"}, "X-Ms-Request-Id": {"r-1"}},
	})
}

// The forms of errors of the resource manager, and what is made of them.
var armErrors = []struct{ body, want string }{
	{`{"code":"412002","httpStatusCode":"PreconditionFailed","message":"etag does not match","details":null}`, "HTTP 412: 412002: etag does not match (tracking id r-1)"},
	{`{"error":{"code":"AuthorizationFailed","message":"no right\nover\u001b[1m this"}}`, "HTTP 412: AuthorizationFailed: no right over[1m this (tracking id r-1)"},
	{`<html>`, "HTTP 412: Precondition Failed (tracking id r-1)"},
	{`{"message":[]}`, "HTTP 412: Precondition Failed (tracking id r-1)"},
	{``, "HTTP 412: Precondition Failed (tracking id r-1)"},
}

// TestRefusal: the resource manager's errors fit on a line, and are what callers look
// for.
func TestRefusal(t *testing.T) {
	for _, test := range armErrors {
		err := refusal(fmt.Errorf("verifying: %w", armAnswer(412, test.body)))
		var ours *rest.Error
		var sdk *azcore.ResponseError
		if err.Error() != test.want || !errors.As(err, &ours) || ours.RetryAfter != 7*time.Second || !errors.As(err, &sdk) || !changed(err) {
			t.Errorf("%s: %q, want %q; %+v", test.body, err, test.want, ours)
		}
	}
	other := errors.New("x")
	if refusal(other) != other || refusal(nil) != nil {
		t.Error("what is no refusal was changed")
	}
}

func FuzzForeignError(f *testing.F) {
	for _, seed := range armErrors {
		f.Add(seed.body)
	}
	f.Add(`{"error":"invalid_client","error_description":"AADSTS7000215: no\r\nTrace ID: 1","error_codes":[7000215]}`)
	f.Fuzz(func(t *testing.T, body string) {
		token := &tokenError{&azidentity.AuthenticationFailedError{RawResponse: &http.Response{StatusCode: 401, Body: io.NopCloser(strings.NewReader(body))}}}
		for _, err := range []error{refusal(armAnswer(401, body)), token} {
			text := err.Error()
			if passes(err) || len(text) == 0 || len(text) > 4000 || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("%q becomes %q, which passes: %v", body, text, passes(err))
			}
		}
	})
}
