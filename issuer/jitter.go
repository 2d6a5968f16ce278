package issuer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"time"
)

// jitter is how much of the validity certificates may lack.
type jitter time.Duration

// jitterSteps is how many lengths of validity there are under a jitter. They are few
// because a certificate whose length was seen before needs no lint of its own (see
// ca/shape.go), and many enough: what is made in the hours of a shift fills the
// gaps between them.
const jitterSteps = 128

var percentage = regexp.MustCompile(`^([0-9]{1,2})%$`)

// newJitter reads a share of the validity, as in 10%, or a length of time, as in 20d.
func newJitter(text string, validity time.Duration) (jitter, error) {
	if text == "" {
		return 0, nil
	}
	var d time.Duration
	if m := percentage.FindStringSubmatch(text); m != nil {
		percent, _ := strconv.Atoi(m[1])
		d = validity / 100 * time.Duration(percent)
	} else {
		var err error
		if d, err = lengthOfTime(text); err != nil {
			return 0, fmt.Errorf("%q is neither a share of the validity, as in 10%%, nor a length of time, as in 20d or 36h", text)
		}
	}
	if d < 0 || d > validity/2 {
		return 0, fmt.Errorf("%s is more than half of the validity, or less than nothing", text)
	}
	return jitter(d), nil
}

// lengthOfTime reads Go's durations and whole days.
func lengthOfTime(text string) (time.Duration, error) {
	n := len(text) - 1
	if text[n] != 'd' {
		return time.ParseDuration(text)
	}
	days, err := strconv.ParseUint(text[:n], 10, 16)
	return time.Duration(days) * day, err
}

// of is what the certificate with a serial number lacks of its validity: a whole number
// of steps, in whole seconds. It follows from the serial number alone, which
// is random, so that it can be checked afterwards and a repeated look gives the same.
func (j jitter) of(serial *big.Int) time.Duration {
	if j == 0 {
		return 0
	}
	sum := sha256.Sum256(append([]byte("mintmark validity jitter "), serial.Bytes()...))
	step := binary.BigEndian.Uint64(sum[:8]) % jitterSteps
	return (time.Duration(j) / (jitterSteps - 1) * time.Duration(step)).Truncate(time.Second)
}
