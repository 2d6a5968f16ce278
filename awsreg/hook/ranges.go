package hook

import (
	"fmt"
	"strings"

	"mintmark/internal/pattern"
)

// devicePattern is what a device's identifier looks like, as in package
// inventory.
var devicePattern = pattern.New(`\A(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,62}[A-Za-z0-9]|[A-Za-z0-9])\z`)

// ValidDevice reports whether a string can be the identifier of a device.
func ValidDevice(id string) bool { return devicePattern.MatchString(id) }

// inRange reports whether a range, written FIRST..LAST as in the item of an
// order, holds an identifier. The rule is that of package inventory, which reads
// ranges before they are recorded: both ends have the same length and the same
// text before their final digits, and so has what lies between them. It fails on
// what no order could have had.
func inRange(text, id string) (bool, error) {
	first, last, ok := strings.Cut(text, "..")
	n := len(first) - digits(first)
	switch {
	case !ok || !ValidDevice(first) || !ValidDevice(last):
		return false, fmt.Errorf("range %q is not FIRST..LAST", cut(text))
	case digits(first) == 0, len(first) != len(last), digits(last) != digits(first), first[:n] != last[:n], first > last:
		return false, fmt.Errorf("range %q does not count from its first to its last", cut(text))
	}
	// Numbers of the same length sort as their digits do.
	return len(id) == len(first) && id[:n] == first[:n] && len(id)-digits(id) <= n && first <= id && id <= last, nil
}

// digits is the length of the run of digits that an identifier ends with.
func digits(id string) int {
	return len(id) - len(strings.TrimRight(id, "0123456789"))
}
