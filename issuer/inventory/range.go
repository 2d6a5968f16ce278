package inventory

import (
	"fmt"
	"iter"
	"math/big"
	"strings"

	"mintmark/internal/ledger"
)

// ParseRange reads a range as people write it: FIRST..LAST, both included. It
// checks nothing but the form; NewOrder checks the rest.
func ParseRange(text string) (ledger.Range, error) {
	first, last, ok := strings.Cut(text, "..")
	if !ok || first == "" || last == "" || strings.HasPrefix(last, ".") {
		return ledger.Range{}, fmt.Errorf("range %q: must be FIRST..LAST, as in SN-00001..SN-01000", text)
	}
	return ledger.Range{First: first, Last: last}, nil
}

// digits is the length of the run of digits that an identifier ends with.
func digits(id string) int {
	return len(id) - len(strings.TrimRight(id, "0123456789"))
}

// checkRange says why a range bounds nothing, or nil.
func checkRange(r ledger.Range) error {
	for _, id := range []string{r.First, r.Last} {
		if err := CheckDevice(id); err != nil {
			return fmt.Errorf("%q %w", id, err)
		}
		if digits(id) == 0 {
			return fmt.Errorf("%q does not end with a digit; devices without running numbers need a device list", id)
		}
	}
	switch {
	case len(r.First) != len(r.Last):
		return fmt.Errorf("%q and %q differ in length; running numbers need leading zeros", r.First, r.Last)
	case prefix(r) != r.Last[:len(prefix(r))] || digits(r.First) != digits(r.Last):
		return fmt.Errorf("%q and %q differ before their running number", r.First, r.Last)
	case r.First > r.Last:
		return fmt.Errorf("%q comes after %q", r.First, r.Last)
	}
	return nil
}

// prefix is what all identifiers of a range begin with.
func prefix(r ledger.Range) string { return r.First[:len(r.First)-digits(r.First)] }

// capacity is how many identifiers a checked range holds.
func capacity(r ledger.Range) *big.Int {
	n := len(prefix(r))
	first, _ := new(big.Int).SetString(r.First[n:], 10)
	last, _ := new(big.Int).SetString(r.Last[n:], 10)
	return last.Add(last.Sub(last, first), big.NewInt(1))
}

// Members are the identifiers of a checked range, in their order.
func Members(r ledger.Range) iter.Seq[string] {
	return func(yield func(string) bool) {
		for id := []byte(r.First); yield(string(id)) && string(id) != r.Last; {
			at := len(id) - 1
			for ; at >= 0 && id[at] == '9'; at-- {
				id[at] = '0'
			}
			if at < 0 || id[at] < '0' || id[at] > '8' {
				return // it was not checked
			}
			id[at]++
		}
	}
}

// within reports whether a checked range holds the identifier. Numbers of the
// same length sort as their digits do.
func within(r ledger.Range, id string) bool {
	n := len(prefix(r))
	return len(id) == len(r.First) && id[:n] == r.First[:n] && len(id)-digits(id) <= n && r.First <= id && id <= r.Last
}

// overlap reports whether two checked ranges share an identifier.
func overlap(a, b ledger.Range) bool {
	return within(a, b.First) || within(a, b.Last) || within(b, a.First)
}
