package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Device is one device as its certificates show it.
type Device struct {
	ID         string    `json:"id"`
	FirstSeen  time.Time `json:"first_seen"`
	LastIssued time.Time `json:"last_issued"`
	// Count is the number of its certificates, revoked ones included.
	Count int `json:"certificate_count"`
	// Current is the serial number of the newest valid one.
	Current string `json:"current,omitempty"`
	// Certificates is left out of lists. It holds at most MaxPage of them.
	Certificates []Certificate `json:"certificates,omitempty"`
}

// Devices is one page of a list, in the order of identifiers. Next, if not
// empty, is where the following page starts after; that page may be empty.
type Devices struct {
	Devices []Device `json:"devices"`
	Next    string   `json:"next,omitempty"`
}

// Devices lists the devices after the given one, at most limit of them.
func (c *Client) Devices(ctx context.Context, after string, limit int) (Devices, error) {
	v := make(url.Values)
	if after != "" {
		v.Set("after", after)
	}
	if limit != 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	return call[Devices](ctx, c, http.MethodGet, "/v1/devices", v, nil)
}

// Device returns one device with its certificates.
func (c *Client) Device(ctx context.Context, id string) (Device, error) {
	return call[Device](ctx, c, http.MethodGet, "/v1/devices/"+url.PathEscape(id), nil, nil)
}
