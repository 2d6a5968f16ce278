package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The states of a work order.
const (
	OrderOpen   = "open"
	OrderClosed = "closed" // done: its credential is refused
	OrderKilled = "killed" // its credential was in wrong hands: what was in flight is void, too
)

// Range is an interval of device identifiers with running numbers; both ends
// are included.
type Range struct {
	First string `json:"first"`
	Last  string `json:"last"`
}

// OrderSpec is a work order to make.
type OrderSpec struct {
	// ID is 1 to 64 letters, digits and . _ -; it is the user of the secret and
	// the commonName of the claim certificate.
	ID      string `json:"id"`
	Product string `json:"product,omitempty"`
	// Profile of the certificates; that of the label if empty.
	Profile string `json:"profile,omitempty"`
	// Label is the EST label that takes the order's credential; it must be one
	// with authorize: order.
	Label   string `json:"label"`
	Station string `json:"station,omitempty"` // for people
	// Quantity is how many certificates may be issued.
	Quantity int `json:"quantity"`
	// Ranges bound the devices; none admits any that the profile allows.
	Ranges []Range `json:"ranges,omitempty"`
	// Listed admits only devices that the inventory lists under this order.
	Listed bool `json:"listed,omitempty"`
	// Networks, as in 192.0.2.0/24, bound the addresses that the credential is
	// taken from.
	Networks []string `json:"networks,omitempty"`
	// NotBefore is now if left out.
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  time.Time  `json:"not_after"`
	// ClaimCSR is the certification request (PEM) for a claim certificate. With
	// none, a secret is made.
	ClaimCSR string `json:"claim_csr,omitempty"`
}

// Order is a work order.
type Order struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Product  string `json:"product,omitempty"`
	Profile  string `json:"profile"`
	Label    string `json:"label"`
	Station  string `json:"station,omitempty"`
	Quantity int    `json:"quantity"`
	// Taken counts certificates and requests that are being answered.
	Taken     int       `json:"taken"`
	Ranges    []Range   `json:"ranges,omitempty"`
	Listed    bool      `json:"listed"`
	Networks  []string  `json:"networks,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Secret is true if the order has one; what it is nobody knows but who got
	// it.
	Secret    bool       `json:"secret"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	ChangedAt *time.Time `json:"changed_at,omitempty"`
	ChangedBy string     `json:"changed_by,omitempty"`
	// Report and Claims, its claim certificates, are left out of lists.
	Report *OrderReport  `json:"report,omitempty"`
	Claims []Certificate `json:"claims,omitempty"`
}

// OrderReport is the account of a work order.
type OrderReport struct {
	Issued int `json:"issued"` // certificates, revoked ones included
	Open   int `json:"open"`   // units taken by requests that are being answered
	Left   int `json:"left"`
	// Refused counts requests by rule.
	Refused map[string]int `json:"refused"`
	Last    *time.Time     `json:"last,omitempty"` // last certificate
}

// OrderCredential is a work order with a new credential: either Secret, the
// password that goes with the order's ID and is never shown again, or
// Certificate with Chain.
type OrderCredential struct {
	Order       Order        `json:"order"`
	Secret      string       `json:"secret,omitempty"`
	Certificate *Certificate `json:"certificate,omitempty"`
	// Chain is PEM: from the issuing CA to, but without, the trust anchor.
	Chain string `json:"chain,omitempty"`
	// Warning says what did not work although the order was made.
	Warning string `json:"warning,omitempty"`
}

// OrderQuery selects work orders; empty fields do not restrict.
type OrderQuery struct {
	State   string
	Product string
	Station string
	After   string // the order that the previous page ended with
	Limit   int    // at most MaxPage; DefaultPage if zero
}

func (q OrderQuery) values() url.Values {
	v := make(url.Values)
	for name, value := range map[string]string{"state": q.State, "product": q.Product, "station": q.Station, "after": q.After} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Orders is one page of a list, in the order of identifiers. Next, if not
// empty, is the After of the following page, which may be empty.
type Orders struct {
	Orders []Order `json:"orders"`
	Next   string  `json:"next,omitempty"`
}

// OrderWindow moves the end of an order.
type OrderWindow struct {
	NotAfter time.Time `json:"not_after"`
}

// OrderQuantity changes the quantity of an order.
type OrderQuantity struct {
	Quantity int `json:"quantity"`
}

// Killed is an order that was killed.
type Killed struct {
	Order Order `json:"order"`
	// Revoked are the serial numbers of its claim certificates that were valid.
	Revoked []string `json:"revoked"`
	// Warning says what did not work although the order is killed.
	Warning string `json:"warning,omitempty"`
}

// ClaimRequest asks for a claim certificate of an order.
type ClaimRequest struct {
	CSR string `json:"csr"` // PEM
}

// CreateOrder makes a work order.
func (c *Client) CreateOrder(ctx context.Context, spec OrderSpec) (OrderCredential, error) {
	return call[OrderCredential](ctx, c, http.MethodPost, "/v1/orders", nil, spec)
}

// Orders returns one page of what the query selects.
func (c *Client) Orders(ctx context.Context, q OrderQuery) (Orders, error) {
	return call[Orders](ctx, c, http.MethodGet, "/v1/orders", q.values(), nil)
}

// Order returns one order with its report.
func (c *Client) Order(ctx context.Context, id string) (Order, error) {
	return call[Order](ctx, c, http.MethodGet, orderPath(id), nil, nil)
}

// ExtendOrder moves the end of an order.
func (c *Client) ExtendOrder(ctx context.Context, id string, notAfter time.Time) (Order, error) {
	return call[Order](ctx, c, http.MethodPatch, orderPath(id), nil, OrderWindow{notAfter})
}

// SetOrderQuantity changes the quantity of an order. Raising it needs a second
// officer: the error is then *Proposed.
func (c *Client) SetOrderQuantity(ctx context.Context, id string, quantity int) (Order, error) {
	return call[Order](ctx, c, http.MethodPut, orderPath(id)+"/quantity", nil, OrderQuantity{quantity})
}

// CloseOrder ends an order that is done.
func (c *Client) CloseOrder(ctx context.Context, id string) (Order, error) {
	return call[Order](ctx, c, http.MethodPost, orderPath(id)+"/close", nil, struct{}{})
}

// KillOrder ends an order whose credential is in wrong hands, voids what is in
// flight under it, and revokes its claim certificates.
func (c *Client) KillOrder(ctx context.Context, id string) (Killed, error) {
	return call[Killed](ctx, c, http.MethodPost, orderPath(id)+"/kill", nil, struct{}{})
}

// NewOrderSecret replaces the secret of an order.
func (c *Client) NewOrderSecret(ctx context.Context, id string) (OrderCredential, error) {
	return call[OrderCredential](ctx, c, http.MethodPost, orderPath(id)+"/secret", nil, struct{}{})
}

// NewOrderClaim issues another claim certificate of an order.
func (c *Client) NewOrderClaim(ctx context.Context, id, csr string) (OrderCredential, error) {
	return call[OrderCredential](ctx, c, http.MethodPost, orderPath(id)+"/claim", nil, ClaimRequest{csr})
}

func orderPath(id string) string { return "/v1/orders/" + url.PathEscape(id) }
