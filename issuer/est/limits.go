package est

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// limits counts requests per label and address, label and device, and label.
// The tables are apart: a flood of addresses makes nobody forget a device.
type limits struct {
	stations []netip.Prefix
	sources  *buckets[sourceOf]
	devices  *buckets[deviceOf]
	labels   *buckets[string]
}

type sourceOf struct {
	label  string
	source netip.Prefix
}

type deviceOf struct{ label, device string }

func newLimits(stations []netip.Prefix) limits {
	return limits{slices.Clone(stations), newBuckets[sourceOf](), newBuckets[deviceOf](), newBuckets[string]()}
}

// station reports whether a whole line may stand behind an address.
func (l *limits) station(peer netip.Addr) bool {
	return slices.ContainsFunc(l.stations, func(p netip.Prefix) bool { return p.Contains(peer) })
}

func tooMany(wait time.Duration, rule, what string) error {
	if wait == 0 {
		return nil
	}
	f := fail(http.StatusTooManyRequests, rule, "too many requests %s: slow down, and repeat this one after the Retry-After", what)
	f.retry = wait
	return f
}

// limitAddress counts a request from an address, before anything else is done
// about it. Stations pass: a whole line stands behind one.
func (h *Handler) limitAddress(x *exchange) error {
	if h.limits.station(x.peer) {
		return nil
	}
	wait := h.limits.sources.take(h.now(), sourceOf{x.label.Name, source(x.peer)}, x.label.Limits.Address, false)
	return tooMany(wait, ruleLimitAddress, "from this address")
}

// limitLabel looks before authentication whether the label takes a request,
// and counts it after that: what strangers send takes nothing away from those
// who are known.
func (h *Handler) limitLabel(x *exchange, count bool) error {
	wait := h.limits.labels.take(h.now(), x.label.Name, x.label.Limits.Label, !count)
	return tooMany(wait, ruleLimitLabel, "at this label")
}

// limitIdentity counts an authenticated request, for the device if it is one's.
// Shared passwords, work orders and registration authorities speak for many
// devices and have no limit of their own. A repeated request costs like any other.
func (h *Handler) limitIdentity(x *exchange, who identity) error {
	if who.device != "" {
		wait := h.limits.devices.take(h.now(), deviceOf{x.label.Name, who.device}, x.label.Limits.Identity, false)
		if wait > 0 {
			x.note(slog.String("device", who.device))
			return tooMany(wait, ruleLimitIdentity, "by this device")
		}
	}
	return h.limitLabel(x, true)
}
