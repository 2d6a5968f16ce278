package ledger

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// OrderState is where a work order stands.
type OrderState string

const (
	OrderOpen   OrderState = "open"
	OrderClosed OrderState = "closed" // done: its credential is refused from now on
	OrderKilled OrderState = "killed" // its credential is in wrong hands: what was in flight is void, too
)

// Order is a work order: leave to issue a number of certificates.
type Order struct {
	ID      string
	Product string
	Profile string // of the certificates
	Label   string // EST label where its credential is taken, and nowhere else
	Station string // line or station that it was given to, for people

	Quantity int // certificates
	// Ranges bound the identifiers of devices; empty for any that the profile
	// allows.
	Ranges []Range
	// Listed admits only devices that the inventory lists under this order.
	Listed bool
	// Networks bound the addresses that its credential is taken from; empty
	// for any.
	Networks []netip.Prefix

	NotBefore time.Time
	NotAfter  time.Time

	// Secret is the SHA-256 of its HTTP Basic secret; zero if it has none.
	// Claim certificates are in the ledger with the order's ID.
	Secret [32]byte

	State     OrderState
	CreatedAt time.Time
	CreatedBy string
	ChangedAt time.Time
	ChangedBy string

	// Taken counts open intents and certificates. Kept by the ledger.
	Taken int
}

// Range is an interval of device identifiers: those of the same length and
// prefix as both ends, whose digits lie between theirs. First and Last are
// included.
type Range struct{ First, Last string }

// OrderChange changes an order; nil fields leave it as it is.
type OrderChange struct {
	Quantity *int
	NotAfter *time.Time
	State    *OrderState
	Secret   *[32]byte
}

// OrderUsage is the account of an order.
type OrderUsage struct {
	Issued  int // certificates, revoked ones included
	Open    int // units taken by intents without a certificate yet
	Left    int
	Refused map[string]int // requests, by rule
	Last    time.Time      // last certificate, zero for none
}

// OrderQuery selects orders; zero fields do not restrict.
type OrderQuery struct {
	State   OrderState
	Product string
	Station string
	After   string // keyset: only identifiers greater than this one
	Limit   int    // at most 1000; 0 means 100
}

// OrderError refuses an intent for the state of its work order.
type OrderError struct {
	Order string
	// Why is unknown, closed, killed, early, expired, exhausted, or in-flight:
	// its last units are taken by requests that are being answered, and one of them may
	// come back.
	Why string
}

func (e *OrderError) Error() string { return fmt.Sprintf("work order %q: %s", e.Order, e.Why) }

// Orders is the part that keeps work orders and their quota.
type Orders interface {
	// CreateOrder returns ErrTaken for a known ID. Tasks are enqueued in the same
	// transaction, here as in ChangeOrder.
	CreateOrder(ctx context.Context, order Order, tasks ...Task) error

	// Order returns ErrNotFound for an unknown one.
	Order(ctx context.Context, id string) (Order, error)

	// Orders lists in the order of identifiers.
	Orders(ctx context.Context, query OrderQuery) ([]Order, error)

	// ChangeOrder changes an order and returns it. A quantity below what is
	// taken is an *OrderError (exhausted). A closed or killed order stays as it
	// is, which is an *OrderError too, except that a closed one can be killed.
	// Killing voids the open intents of the order.
	ChangeOrder(ctx context.Context, id string, change OrderChange, actor string, now time.Time, tasks ...Task) (Order, error)

	// OrderUsage returns ErrNotFound for an unknown one.
	OrderUsage(ctx context.Context, id string) (OrderUsage, error)
}
