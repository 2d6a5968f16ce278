package dpsreg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/dpsreg/rest"
)

const (
	armHost = "management.azure.com"
	// Half of what the resource manager allows an identity in a subscription, which is a
	// bucket of 200 writes that is refilled by 10 a second; of reads it allows more.
	// https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
	armRate, armBurst = 5, 100
	// maxSDKAnswer bounds what is read of an answer of the resource manager or of
	// Entra, which the SDK reads whole, in bytes.
	maxSDKAnswer = 4 << 20
)

// certificates makes the client of uploaded CAs.
func certificates(subscription string, credential azcore.TokenCredential, client *http.Client, l *limiter) (armCertificates, error) {
	options := sdkOptions(client)
	options.PerCallPolicies = []policy.Policy{paced{l}}
	c, err := arms.NewDpsCertificateClient(subscription, credential, &arm.ClientOptions{
		ClientOptions: options, DisableRPRegistration: true, // it would need a right over the subscription
	})
	if err != nil {
		return armCertificates{}, fmt.Errorf("making the client of the resource manager: %w", err)
	}
	return armCertificates{c}, nil
}

// armCertificates is the client of the SDK, with errors that fit on a line. Only Get and
// List are made again when they fail in passing; refusals are *rest.Error, and
// *azcore.ResponseError too.
type armCertificates struct {
	inner *arms.DpsCertificateClient
}

func (c armCertificates) CreateOrUpdate(ctx context.Context, group, service, name string, d arms.CertificateResponse, o *arms.DpsCertificateClientCreateOrUpdateOptions) (arms.DpsCertificateClientCreateOrUpdateResponse, error) {
	out, err := c.inner.CreateOrUpdate(ctx, group, service, name, d, o)
	return out, refusal(err)
}

func (c armCertificates) Get(ctx context.Context, name, group, service string, o *arms.DpsCertificateClientGetOptions) (arms.DpsCertificateClientGetResponse, error) {
	return reading(ctx, func() (arms.DpsCertificateClientGetResponse, error) { return c.inner.Get(ctx, name, group, service, o) })
}

func (c armCertificates) List(ctx context.Context, group, service string, o *arms.DpsCertificateClientListOptions) (arms.DpsCertificateClientListResponse, error) {
	return reading(ctx, func() (arms.DpsCertificateClientListResponse, error) { return c.inner.List(ctx, group, service, o) })
}

func (c armCertificates) GenerateVerificationCode(ctx context.Context, name, ifMatch, group, service string, o *arms.DpsCertificateClientGenerateVerificationCodeOptions) (arms.DpsCertificateClientGenerateVerificationCodeResponse, error) {
	out, err := c.inner.GenerateVerificationCode(ctx, name, ifMatch, group, service, o)
	return out, refusal(err)
}

func (c armCertificates) VerifyCertificate(ctx context.Context, name, ifMatch, group, service string, r arms.VerificationCodeRequest, o *arms.DpsCertificateClientVerifyCertificateOptions) (arms.DpsCertificateClientVerifyCertificateResponse, error) {
	out, err := c.inner.VerifyCertificate(ctx, name, ifMatch, group, service, r, o)
	return out, refusal(err)
}

func (c armCertificates) Delete(ctx context.Context, group, ifMatch, service, name string, o *arms.DpsCertificateClientDeleteOptions) (arms.DpsCertificateClientDeleteResponse, error) {
	out, err := c.inner.Delete(ctx, group, ifMatch, service, name, o)
	return out, refusal(err)
}

// reading makes a call that changes nothing again when it fails in passing.
func reading[T any](ctx context.Context, call func() (T, error)) (T, error) {
	for attempts := 1; ; attempts++ {
		out, err := call()
		if err == nil {
			return out, nil
		}
		if err = refusal(err); !passes(err) {
			return out, err
		}
		if err := readAgain(ctx, attempts, err); err != nil {
			return out, err
		}
	}
}

// armError is a refusal of the resource manager. The SDK's text has the whole answer
// and many lines.
type armError struct {
	refused *rest.Error
	sdk     *azcore.ResponseError
}

func (e *armError) Error() string   { return e.refused.Error() }
func (e *armError) Unwrap() []error { return []error{e.refused, e.sdk} }

// refusal makes an armError of the SDK's; other errors stay.
func refusal(err error) error {
	var sdk *azcore.ResponseError
	if !errors.As(err, &sdk) {
		return err
	}
	e := &rest.Error{Status: sdk.StatusCode}
	message := sdk.ErrorCode
	if sdk.RawResponse != nil {
		body, _ := io.ReadAll(sdk.RawResponse.Body) // whole has read it
		sdk.RawResponse.Body = io.NopCloser(bytes.NewReader(body))
		e.TrackingID = rest.Clean(sdk.RawResponse.Header.Get("X-Ms-Request-Id"))
		e.RetryAfter = rest.RetryAfter(sdk.RawResponse.Header, time.Now())
		if text := armMessage(body); text != "" {
			message = strings.TrimPrefix(message+": "+text, ": ")
		}
	}
	e.Message = rest.Clean(message)
	return &armError{e, sdk}
}

// armMessage reads the two forms of the resource manager's errors: its own, and that of
// the provider Microsoft.Devices (ErrorDetails in its specification).
func armMessage(body []byte) string {
	var in struct {
		Message string `json:"message"`
		Error   struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &in) != nil {
		return ""
	}
	if in.Error.Message != "" {
		return in.Error.Message
	}
	return in.Message
}

// paced makes calls of the SDK wait for their turn.
type paced struct{ limiter *limiter }

// Do implements policy.Policy.
func (p paced) Do(r *policy.Request) (*http.Response, error) {
	if err := p.limiter.wait(r.Raw().Context(), 1); err != nil {
		return nil, fmt.Errorf("waiting for the rate limit: %w", err)
	}
	answer, err := r.Next()
	if err == nil && answer.StatusCode == http.StatusTooManyRequests {
		p.limiter.stop(rest.RetryAfter(answer.Header, time.Now()))
	}
	return answer, err
}

// whole is the SDK's transport. It reads answers to their end, so that one that breaks
// off is known as a call whose effect is not.
type whole struct{ client *http.Client }

// Do implements policy.Transporter.
func (w whole) Do(r *http.Request) (*http.Response, error) {
	answer, err := w.client.Do(r)
	if err != nil {
		return nil, rest.Lost(r.Context(), err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxSDKAnswer+1))
	switch {
	case err != nil:
		return nil, rest.Lost(r.Context(), fmt.Errorf("reading the answer of %s: %w", r.URL.Host, err))
	case len(body) > maxSDKAnswer:
		return nil, fmt.Errorf("the answer of %s is longer than %d bytes", r.URL.Host, maxSDKAnswer)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}
