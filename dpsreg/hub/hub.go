// Package hub is a client for the identity registry of an IoT hub, as far as it takes
// to stop a device and to let it go on: api-version 2021-04-12.
//
// Source of wire formats: Azure/azure-rest-api-specs,
// specification/iothub/data-plane, and
// https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"mintmark/dpsreg/rest"
)

// APIVersion is what every call names.
const APIVersion = "2021-04-12"

// What an identity's status is.
const (
	Enabled  = "enabled"
	Disabled = "disabled"
)

// maxReason is the length of a status reason, in characters (identity registry,
// device identity properties).
const maxReason = 128

// Client is one hub. Its methods may be called concurrently; errors of the service are
// *rest.Error.
type Client struct{ rest *rest.Client }

// New returns a client; it makes no call.
func New(r *rest.Client) *Client { return &Client{rest: r} }

// Device is an identity. What mintmark does not know of it is kept when it is written.
type Device struct {
	ID           string `json:"deviceId"`
	Etag         string `json:"etag,omitempty"`
	Status       string `json:"status,omitempty"` // Enabled or Disabled
	StatusReason string `json:"statusReason,omitempty"`
	// Primary and Secondary are thumbprints, hexadecimal SHA-1 or SHA-256; empty for
	// an identity that is not of type selfSigned.
	Primary, Secondary string `json:"-"`

	raw map[string]json.RawMessage
}

// Device reads an identity; *rest.Error with Status 404 if there is none. Ids differ
// by case.
func (c *Client) Device(ctx context.Context, id string) (Device, error) {
	path, err := rest.Join("devices", id)
	if err != nil {
		return Device{}, err
	}
	var raw json.RawMessage
	if _, err := c.rest.Do(ctx, rest.Call{Method: http.MethodGet, Path: path, Into: &raw, Read: true}); err != nil {
		return Device{}, err
	}
	return parseDevice(raw, id)
}

// SetStatus writes status and reason to exactly the version that was read (412 if it
// is another).
func (c *Client) SetStatus(ctx context.Context, d Device, status, reason string) (Device, error) {
	path, err := rest.Join("devices", d.ID)
	switch {
	case err != nil:
		return Device{}, err
	case d.Etag == "" || d.raw == nil:
		return Device{}, errors.New("writing an identity needs what was read of it")
	case status != Enabled && status != Disabled:
		return Device{}, fmt.Errorf("%q is not the status of an identity", status)
	case utf8.RuneCountInString(reason) > maxReason:
		return Device{}, fmt.Errorf("the reason of a status has at most %d characters", maxReason)
	}
	body := make(map[string]any, len(d.raw)+2)
	for name, value := range d.raw {
		body[name] = value
	}
	body["status"], body["statusReason"] = status, reason
	var raw json.RawMessage
	if _, err := c.rest.Do(ctx, rest.Call{Method: http.MethodPut, Path: path, IfMatch: d.Etag, Body: body, Into: &raw}); err != nil {
		return Device{}, err
	}
	return parseDevice(raw, d.ID)
}

// parseDevice reads an identity and refuses one that was not asked for.
func parseDevice(data []byte, id string) (Device, error) {
	var d Device
	var in struct {
		Authentication *struct {
			Type       string `json:"type"`
			Thumbprint *struct {
				Primary   string `json:"primaryThumbprint"`
				Secondary string `json:"secondaryThumbprint"`
			} `json:"x509Thumbprint"`
		} `json:"authentication"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return Device{}, fmt.Errorf("reading an identity: %w", err)
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return Device{}, fmt.Errorf("reading an identity: %w", err)
	}
	if err := json.Unmarshal(data, &d.raw); err != nil {
		return Device{}, fmt.Errorf("reading an identity: %w", err)
	}
	if d.ID != id {
		return Device{}, fmt.Errorf("the answer is about identity %q, asked was for %q", d.ID, id)
	}
	if a := in.Authentication; a != nil && a.Type == "selfSigned" && a.Thumbprint != nil {
		d.Primary, d.Secondary = a.Thumbprint.Primary, a.Thumbprint.Secondary
	}
	return d, nil
}
