package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Refusal is a request that a rule refused.
type Refusal struct {
	ID        int64     `json:"id"` // newer ones are greater
	At        time.Time `json:"at"`
	Server    string    `json:"server"`
	Operation string    `json:"operation"`
	Label     string    `json:"label,omitempty"`
	Profile   string    `json:"profile,omitempty"`
	Order     string    `json:"order,omitempty"`
	Rule      string    `json:"rule"`
	Text      string    `json:"text"` // what the requester was told
	// What the request said, as far as it could be read; nothing of it is
	// proven.
	Device    string    `json:"device,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Key       string    `json:"key,omitempty"` // SHA-256 of the public key
	Requester Requester `json:"requester"`
}

// RefusalQuery selects refusals; empty fields do not restrict.
type RefusalQuery struct {
	Device    string
	Key       string
	Address   string
	Requester string
	Order     string
	Rule      string
	Since     time.Time
	Before    int64 // the refusal that the previous page ended with
	Limit     int   // at most MaxPage; DefaultPage if zero
}

func (q RefusalQuery) values() url.Values {
	v := make(url.Values)
	for name, value := range map[string]string{
		"device": q.Device, "key": q.Key, "address": q.Address, "requester": q.Requester, "order": q.Order, "rule": q.Rule,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	if q.Before != 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Refusals is one page of a list, the newest first. Next, if not zero, is the
// Before of the following page, which may be empty.
type Refusals struct {
	Refusals []Refusal `json:"refusals"`
	Next     int64     `json:"next,omitempty"`
}

// Refusals returns one page of what the query selects.
func (c *Client) Refusals(ctx context.Context, q RefusalQuery) (Refusals, error) {
	return call[Refusals](ctx, c, http.MethodGet, "/v1/refusals", q.values(), nil)
}
