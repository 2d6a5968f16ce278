package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The states of a device.
const (
	Expected = "expected" // listed, without a certificate yet
	Enrolled = "enrolled"
	Held     = "held"    // it gets no certificate until it is released
	Retired  = "retired" // it gets no certificate any more
)

// Device is one device: what the inventory says of it and what its certificates
// show.
type Device struct {
	ID    string `json:"id"`
	State string `json:"state"`
	// Listed is true when the inventory has the device; the fields up to
	// ListedAt are then what its list said.
	Listed  bool   `json:"listed"`
	Import  string `json:"import,omitempty"`
	Order   string `json:"order,omitempty"`
	Product string `json:"product,omitempty"`
	// Key is the SHA-256 of the public key that it must have.
	Key      string            `json:"key_sha256,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
	ListedAt *time.Time        `json:"listed_at,omitempty"`
	// Who held, released or retired it last, when and why.
	ChangedAt *time.Time `json:"changed_at,omitempty"`
	ChangedBy string     `json:"changed_by,omitempty"`
	Note      string     `json:"note,omitempty"`
	// Targets says which clouds know of that; left out of lists, and of a device that
	// nobody has held, released or retired.
	Targets []Told `json:"targets,omitempty"`
	// Unknown is set in the answer to HoldDevice and RetireDevice if nothing was
	// known of the device until then: its name may be mistyped.
	Unknown bool `json:"unknown,omitempty"`

	FirstSeen  *time.Time `json:"first_seen,omitempty"` // first certificate
	LastIssued *time.Time `json:"last_issued,omitempty"`
	// Count is the number of its certificates, revoked ones included.
	Count int `json:"certificate_count"`
	// Current is the serial number of the newest valid one.
	Current string `json:"current,omitempty"`
	// Certificates, Enrollments and Refusals are left out of lists: the newest
	// certificates first, at most MaxPage of them, the requests that wait for a
	// person or were approved, and the last 20 refusals. Who may not see requests
	// or refusals gets none.
	Certificates []Certificate `json:"certificates,omitempty"`
	Enrollments  []Enrollment  `json:"enrollments,omitempty"`
	Refusals     []Refusal     `json:"refusals,omitempty"`
	// Secret is left out of lists, and of a device without a one-time secret.
	Secret *SecretState `json:"one_time_secret,omitempty"`
}

// DeviceQuery selects devices; empty fields do not restrict.
type DeviceQuery struct {
	State   string
	Order   string
	Product string
	Import  string
	// Text finds devices by the beginning of their identifier or of any field.
	Text  string
	After string // the device that the previous page ended with
	Limit int    // at most MaxPage; DefaultPage if zero
}

func (q DeviceQuery) values() url.Values {
	v := make(url.Values)
	for name, value := range map[string]string{
		"state": q.State, "order": q.Order, "product": q.Product, "import": q.Import, "text": q.Text, "after": q.After,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Devices is one page of a list, in the order of identifiers. Next, if not
// empty, is where the following page starts after; that page may be empty.
type Devices struct {
	Devices []Device `json:"devices"`
	Next    string   `json:"next,omitempty"`
}

// Note says why something is done.
type Note struct {
	Note string `json:"note"`
}

// Devices returns one page of what the query selects.
func (c *Client) Devices(ctx context.Context, q DeviceQuery) (Devices, error) {
	return call[Devices](ctx, c, http.MethodGet, "/v1/devices", q.values(), nil)
}

// Device returns one device with its certificates and refusals.
func (c *Client) Device(ctx context.Context, id string) (Device, error) {
	return call[Device](ctx, c, http.MethodGet, devicePath(id), nil, nil)
}

// HoldDevice keeps a device from getting certificates until it is released. Where an
// AWS target has a fleet, it may be one that the server does not know.
func (c *Client) HoldDevice(ctx context.Context, id, note string) (Device, error) {
	return call[Device](ctx, c, http.MethodPost, devicePath(id)+"/hold", nil, Note{note})
}

// ReleaseDevice ends a hold or a retirement.
func (c *Client) ReleaseDevice(ctx context.Context, id, note string) (Device, error) {
	return call[Device](ctx, c, http.MethodPost, devicePath(id)+"/release", nil, Note{note})
}

// RetireDevice keeps a device from getting certificates for good.
func (c *Client) RetireDevice(ctx context.Context, id, note string) (Device, error) {
	return call[Device](ctx, c, http.MethodPost, devicePath(id)+"/retire", nil, Note{note})
}

func devicePath(id string) string { return "/v1/devices/" + url.PathEscape(id) }
