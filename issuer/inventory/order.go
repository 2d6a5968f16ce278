package inventory

import (
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"mintmark/internal/ledger"
)

// The bounds of a work order.
const (
	MaxQuantity = 100_000_000
	MaxRanges   = 64
	MaxNetworks = 64
	// MaxWindow is more than any order needs: a year that was mistyped must
	// not make a credential that never ends.
	MaxWindow = 5 * 366 * 24 * time.Hour
)

// OrderSpec is a work order as it is asked for. ID, Profile, Label, Quantity
// and NotAfter must be set.
type OrderSpec struct {
	ID       string
	Product  string
	Profile  string
	Label    string
	Station  string
	Quantity int
	Ranges   []ledger.Range
	Listed   bool
	Networks []netip.Prefix
	// NotBefore is the time of creation if zero.
	NotBefore time.Time
	NotAfter  time.Time
	// Secret is the SHA-256 of the HTTP Basic secret; zero for none.
	Secret    [32]byte
	CreatedBy string
}

// NewOrder checks a specification and makes the open work order of it. Errors
// name the field. Whether profile and label exist is for whoever has them.
func NewOrder(spec OrderSpec, now time.Time) (ledger.Order, error) {
	fail := func(field, format string, args ...any) (ledger.Order, error) {
		return ledger.Order{}, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...))
	}
	if err := CheckOrder(spec.ID); err != nil {
		return fail("id", "%q %w", spec.ID, err)
	}
	for _, f := range []struct{ field, value string }{{"product", spec.Product}, {"station", spec.Station}} {
		if err := checkWords(f.value); err != nil {
			return fail(f.field, "%w", err)
		}
	}
	if spec.Profile == "" {
		return fail("profile", "must be set: which certificates the order is for")
	}
	if spec.Label == "" {
		return fail("label", "must be set: the EST label where the order's credential is taken")
	}
	if err := CheckQuantity(spec.Quantity); err != nil {
		return fail("quantity", "%w", err)
	}
	if err := checkRanges(spec.Ranges, spec.Quantity); err != nil {
		return fail("ranges", "%w", err)
	}
	if err := checkNetworks(spec.Networks); err != nil {
		return fail("networks", "%w", err)
	}
	start := spec.NotBefore
	if start.IsZero() {
		start = now
	}
	if err := CheckWindow(start, spec.NotAfter, now); err != nil {
		return fail("not_after", "%w", err)
	}
	return ledger.Order{
		ID: spec.ID, Product: spec.Product, Profile: spec.Profile, Label: spec.Label, Station: spec.Station,
		Quantity: spec.Quantity, Ranges: spec.Ranges, Listed: spec.Listed, Networks: spec.Networks,
		NotBefore: start, NotAfter: spec.NotAfter, Secret: spec.Secret,
		State: ledger.OrderOpen, CreatedAt: now, CreatedBy: spec.CreatedBy, ChangedAt: now, ChangedBy: spec.CreatedBy,
	}, nil
}

// CheckQuantity says why an order cannot be for so many certificates, or nil.
func CheckQuantity(n int) error {
	if n < 1 || n > MaxQuantity {
		return fmt.Errorf("%d is not between 1 and %d", n, MaxQuantity)
	}
	return nil
}

// CheckWindow says why an order cannot be open from start to end, or nil.
func CheckWindow(start, end, now time.Time) error {
	switch {
	case end.IsZero():
		return fmt.Errorf("must be set: a work order ends")
	case !end.After(now):
		return fmt.Errorf("%s is past", end.UTC().Format(time.RFC3339))
	case !end.After(start):
		return fmt.Errorf("%s is not after the beginning, %s", end.UTC().Format(time.RFC3339), start.UTC().Format(time.RFC3339))
	case end.Sub(start) > MaxWindow:
		return fmt.Errorf("%s is more than five years after the beginning, %s", end.UTC().Format(time.RFC3339), start.UTC().Format(time.RFC3339))
	}
	return nil
}

// CheckCapacity says why the ranges of an order do not do for a quantity, or nil.
// No ranges do for any.
func CheckCapacity(ranges []ledger.Range, quantity int) error {
	if len(ranges) == 0 {
		return nil
	}
	sum := new(big.Int)
	for _, r := range ranges {
		sum.Add(sum, capacity(r))
	}
	if sum.Cmp(big.NewInt(int64(quantity))) < 0 {
		return fmt.Errorf("hold %s identifiers, which is less than the quantity of %d", sum, quantity)
	}
	return nil
}

func checkRanges(ranges []ledger.Range, quantity int) error {
	if len(ranges) > MaxRanges {
		return fmt.Errorf("there are %d; %d are allowed: use a device list", len(ranges), MaxRanges)
	}
	for i, r := range ranges {
		if err := checkRange(r); err != nil {
			return err
		}
		for _, other := range ranges[:i] {
			if overlap(other, r) {
				return fmt.Errorf("%s..%s and %s..%s overlap", other.First, other.Last, r.First, r.Last)
			}
		}
	}
	return CheckCapacity(ranges, quantity)
}

func checkNetworks(networks []netip.Prefix) error {
	if len(networks) > MaxNetworks {
		return fmt.Errorf("there are %d; %d are allowed", len(networks), MaxNetworks)
	}
	for _, p := range networks {
		switch {
		case !p.IsValid():
			return fmt.Errorf("one is not a network: write 192.0.2.0/24, or an address")
		case p.Addr().Is4In6():
			return fmt.Errorf("%s is IPv4 in IPv6: write the IPv4 network", p)
		case p != p.Masked():
			return fmt.Errorf("%s has bits set behind its length: did you mean %s?", p, p.Masked())
		}
	}
	return nil
}

// ParseNetwork reads a network in CIDR notation, or one address.
func ParseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, fmt.Errorf("network %q: must be as in 192.0.2.0/24, or an address", text)
}
