package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

// The rules of NotAdmitted.
const (
	RuleRange   = "range"
	RuleNetwork = "network"
)

// NotAdmitted says which bound of a work order a request is outside of.
type NotAdmitted struct {
	Rule string // RuleRange or RuleNetwork
	Text string // for the requester: what was found and what to do
}

func (e *NotAdmitted) Error() string { return e.Text }

// Admits checks a request against what never changes in a work order: the
// serial ranges and the networks. An address that is not known is outside of
// any network. Errors are *NotAdmitted; whether the order is open, in its window and
// has quota left is for the ledger.
func Admits(order ledger.Order, device string, from netip.Addr) error {
	// Addresses of a dual-stack listener are IPv4 in IPv6; zones never match.
	address := from.Unmap().WithZone("")
	if len(order.Networks) > 0 && !slices.ContainsFunc(order.Networks, func(p netip.Prefix) bool { return p.Contains(address) }) {
		where := "an address that is not known"
		if address.IsValid() {
			where = address.String()
		}
		return &NotAdmitted{RuleNetwork, fmt.Sprintf("work order %q does not take requests from %s: use it at its station, or have an order made for this one", order.ID, where)}
	}
	if len(order.Ranges) > 0 && !slices.ContainsFunc(order.Ranges, func(r ledger.Range) bool { return within(r, device) }) {
		return &NotAdmitted{RuleRange, fmt.Sprintf("device %q is not in work order %q, which is for %s", device, order.ID, rangesText(order.Ranges))}
	}
	return nil
}

// rangesText names ranges, the first few of them if there are many.
func rangesText(ranges []ledger.Range) string {
	const shown = 3
	var names []string
	for _, r := range ranges[:min(shown, len(ranges))] {
		names = append(names, r.First+" to "+r.Last)
	}
	text := strings.Join(names, ", ")
	if more := len(ranges) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more ranges", more)
	}
	return text
}
