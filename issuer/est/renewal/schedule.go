// Package renewal keeps the certificate of a device fresh: it knows when one is
// due, puts the new one in the place of the old so that a crash at any moment
// leaves a pair that belongs together or can be completed, and goes on as long
// as the device runs. How a certificate is asked for, it leaves to its caller.
package renewal

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Fraction is a part of a certificate's validity, between 0 and 1. The zero value
// stands for DefaultFraction.
type Fraction struct{ numerator, denominator int64 }

// DefaultFraction is when certificates are renewed unless told otherwise: enough
// is left to notice that it does not work.
var DefaultFraction = Fraction{2, 3}

// ParseFraction reads 2/3, 0.8 or 80%.
func ParseFraction(text string) (Fraction, error) {
	wrong := fmt.Errorf("%q is not a part of the validity as in 2/3, 0.8 or 80%%", text)
	number := func(s string) (int64, bool) {
		n, err := strconv.ParseUint(s, 10, 31)
		return int64(n), err == nil && len(s) <= 9
	}
	f := Fraction{denominator: 1}
	ok := false
	if n, d, slash := strings.Cut(text, "/"); slash {
		f.numerator, ok = number(n)
		if ok {
			f.denominator, ok = number(d)
		}
	} else if percent, is := strings.CutSuffix(text, "%"); is {
		f.numerator, ok = number(percent)
		f.denominator = 100
	} else if decimals, is := strings.CutPrefix(text, "0."); is {
		f.numerator, ok = number(decimals)
		for range decimals {
			f.denominator *= 10
		}
	}
	if !ok || f.numerator <= 0 || f.numerator >= f.denominator {
		return Fraction{}, wrong
	}
	return f, nil
}

func (f Fraction) String() string {
	if f == (Fraction{}) {
		f = DefaultFraction
	}
	return fmt.Sprintf("%d/%d", f.numerator, f.denominator)
}

// of is the part of a length of time, to the second.
func (f Fraction) of(d time.Duration) time.Duration {
	if f == (Fraction{}) {
		f = DefaultFraction
	}
	seconds := int64(d / time.Second)
	// Neither product overflows: a denominator has ten digits at most, and the
	// remainder is smaller than it.
	whole, rest := seconds/f.denominator, seconds%f.denominator
	return time.Duration(whole*f.numerator+rest*f.numerator/f.denominator) * time.Second
}

// spread is the part of the time until they are due over which the renewals of
// devices are spread that were enrolled at once: of two thirds, a thirtieth of
// the validity.
const spread = 20

// Due is when a certificate is to be renewed: after the fraction of its validity,
// and then up to a twentieth later, or halfway to its end if that is sooner. How much later hangs on the certificate alone, so that a line of devices
// that were enrolled together does not come back together, and that every start of
// a program comes to the same answer.
func Due(c *x509.Certificate, f Fraction) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	after := f.of(life)
	window := min(after/spread, (life-after)/2)
	sum := sha256.Sum256(c.Raw)
	part := time.Duration(binary.BigEndian.Uint16(sum[:])) // of 65536
	return c.NotBefore.Add(after + window/65536*part).Truncate(time.Second)
}

// Bounds of the time between two attempts.
const (
	firstRetry  = time.Minute
	longestWait = 6 * time.Hour
	shortest    = time.Second
)

// backoff is how long to wait after so many failures, the first of which is 1:
// a minute, then twice as long each time, but never more than a fiftieth of the
// validity. What the server asked for counts if it is longer.
func backoff(failures int, life, asked time.Duration) time.Duration {
	if life <= 0 {
		life = 30 * 24 * time.Hour // of a certificate that cannot be read
	}
	longest := max(shortest, min(life/50, longestWait))
	wait := min(firstRetry, longest)
	for i := 1; i < failures && wait < longest; i++ {
		wait *= 2
	}
	wait = max(min(wait, longest), min(asked, longestWait))
	// A quarter more or less, so that devices that failed together do not come
	// back together; never before the server wants it.
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1))
	return wait
}
