package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Renewals says when devices are expected to renew, and who is late.
type Renewals struct {
	At      time.Time       `json:"at"`
	Devices int             `json:"devices"`  // with a certificate that is not revoked
	Past80  int             `json:"past_80"`  // 80 to 90 percent of its life are over
	Past90  int             `json:"past_90"`  // 90 to 100 percent
	Past100 int             `json:"past_100"` // expired within the last year
	Curve   []RenewalBucket `json:"curve"`
	// Refused counts refusals by their rule: the last day and the last seven days.
	Refused []RefusedRule `json:"refused"`
}

// RenewalBucket counts devices for one span of time.
type RenewalBucket struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Renew  int       `json:"renew"`  // whose certificate reaches two thirds of its life
	Expire int       `json:"expire"` // whose certificate ends
}

// RefusedRule counts what one rule refused.
type RefusedRule struct {
	Rule string `json:"rule"`
	Day  int    `json:"day"`
	Week int    `json:"week"`
}

// Overdue is one device that has not renewed.
type Overdue struct {
	Device   string    `json:"device"`
	Serial   string    `json:"serial"`
	Issuer   string    `json:"issuer"`
	Label    string    `json:"label,omitempty"`
	NotAfter time.Time `json:"not_after"`
}

// OverdueList is one page. Next, if not empty, is After of the following one.
type OverdueList struct {
	Devices []Overdue `json:"devices"`
	Next    string    `json:"next,omitempty"`
}

// Renewals draws the curve for so many weeks from now on, at most 104.
func (c *Client) Renewals(ctx context.Context, weeks int) (Renewals, error) {
	return call[Renewals](ctx, c, http.MethodGet, "/v1/renewals", url.Values{"weeks": {strconv.Itoa(weeks)}}, nil)
}

// Overdue lists devices past 80, 90 or 100 percent of the life of their certificate.
func (c *Client) Overdue(ctx context.Context, percent int, after string, limit int) (OverdueList, error) {
	v := url.Values{"past": {strconv.Itoa(percent)}, "limit": {strconv.Itoa(limit)}}
	if after != "" {
		v.Set("after", after)
	}
	return call[OverdueList](ctx, c, http.MethodGet, "/v1/renewals/overdue", v, nil)
}
