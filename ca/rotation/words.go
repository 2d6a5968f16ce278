package rotation

import (
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// hundredths writes a share in hundredths of a percent.
func hundredths(share int) string {
	return fmt.Sprintf("%d.%02d", share/100, share%100)
}

// shareOf is n of total in hundredths of a percent, rounded down: what is not whole is
// never shown as 100 %.
func shareOf(n, total int) int {
	if total == 0 {
		return wholeShare
	}
	return int(int64(n) * wholeShare / int64(total))
}

// enough reports whether n of total are at least a share.
func enough(n, total, share int) bool {
	return int64(n)*wholeShare >= int64(total)*int64(share)
}

// span writes a time in days where it is long.
func span(d time.Duration) string {
	if d >= 2*day {
		if d%day != 0 {
			d += day // what is begun counts
		}
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Round(time.Second).String()
}

// when writes a time to the minute, in UTC.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// classes are all of them, those to be looked at first.
var classes = []ledger.AnchorClass{ledger.AnchorLeft, ledger.AnchorSilent, ledger.AnchorNever, ledger.AnchorExpired,
	ledger.AnchorTrusts, ledger.AnchorWaived, ledger.AnchorMoved}

// total is the population. A class that is not known here is one that has not followed.
func total(counts map[ledger.AnchorClass]int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}

// a writes a number with its noun.
func a(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
