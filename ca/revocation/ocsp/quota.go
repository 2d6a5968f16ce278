package ocsp

import (
	"errors"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Whoever asks may have something signed, and no client is known here. So what one address
// can take is bounded, what all of them can, and what is spent on serial numbers that
// anybody can make up.
const (
	// perAddress is how many signatures a second one address may ask for, and burst how
	// many seconds' worth of them at once: a broker that starts again asks for all of its
	// devices. What is kept costs none.
	perAddress = 100
	burst      = 10
	// strangers is how many answers a second about certificates that were never issued are
	// signed in all. What is beyond is answered without a signature.
	strangers = 20
	// maxWaiting bounds who waits for a signature in all.
	maxWaiting = 1000
	// maxAddresses bounds the memory of what addresses have asked for.
	maxAddresses = 8192
	// turn is how long an answer that was looked up waits to be signed.
	turn = 2 * time.Second
)

// signersAtOnce leaves half of the processors to what else this process does.
func signersAtOnce() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// lookupsAtOnce bounds those who wait for the ledger, which takes no processor.
func lookupsAtOnce() int { return 4 * runtime.GOMAXPROCS(0) }

var (
	errLimited  = errors.New("this address has asked for too many signatures")
	errBusy     = errors.New("too many wait for a signature")
	errStranger = errors.New("the certificate was never issued, and too many of these were asked for")
)

// allowance is what was taken and is not forgiven yet.
type allowance struct {
	taken float64
	at    time.Time
}

// take takes one, of which rate are forgiven a second, if it may have more at now.
func (a *allowance) take(now time.Time, rate float64) bool {
	left := a.left(now, rate)
	if left+1 > rate*burst {
		return false
	}
	a.taken, a.at = left+1, now
	return true
}

func (a *allowance) left(now time.Time, rate float64) float64 {
	return max(0, a.taken-rate*max(0, now.Sub(a.at).Seconds()))
}

// quota is what addresses have taken, and what was spent on strangers. It may be used
// concurrently.
type quota struct {
	unlimited []netip.Prefix

	mu        sync.Mutex
	addresses map[netip.Addr]allowance
	strange   allowance
}

func newQuota(unlimited []netip.Prefix) *quota {
	return &quota{unlimited: unlimited, addresses: make(map[netip.Addr]allowance)}
}

// sign reports whether an address may have something signed, and counts it.
func (q *quota) sign(now time.Time, from netip.Addr) bool {
	if slices.ContainsFunc(q.unlimited, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return true
	}
	from = source(from)
	q.mu.Lock()
	defer q.mu.Unlock()
	a, known := q.addresses[from]
	if !a.take(now, perAddress) {
		return false
	}
	if !known && len(q.addresses) >= maxAddresses {
		q.forget(now)
	}
	q.addresses[from] = a
	return true
}

// forget forgets the one of a few addresses that has taken least; the iteration over a map
// picks them at random.
func (q *quota) forget(now time.Time) {
	var least netip.Addr
	lowest, seen := 0.0, 0
	for address, a := range q.addresses {
		if left := a.left(now, perAddress); seen == 0 || left < lowest {
			least, lowest = address, left
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(q.addresses, least)
}

// stranger reports whether one more answer about a certificate that was never issued is
// signed.
func (q *quota) stranger(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.strange.take(now, strangers)
}

// source is what counts as one address: of IPv6, whoever has one has a network of 64 bits.
func source(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// addressOf is the address of who asks; all whose address cannot be read count as one.
func addressOf(req *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}
