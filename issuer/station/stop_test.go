package station

import (
	"strings"
	"testing"
	"time"
)

// TestStop asks a run to end at each line: the device at hand is finished, and no other
// is begun.
func TestStop(t *testing.T) {
	for at := 1; at <= 12; at++ {
		b := newBench(t)
		d := newDevice(t, "SN-001")
		b.at(d)
		s := b.open()
		stop := make(chan struct{})
		b.wire.after = func(lines int) error {
			if lines == at {
				close(stop)
			}
			return nil
		}
		watchdog := time.AfterFunc(30*time.Second, func() { t.Error("it does not end"); s.Device.Close() })
		if err := s.Run(t.Context(), 0, stop); err != nil {
			t.Fatal(err)
		}
		watchdog.Stop()
		s.Close()
		if at > 1 { // the first line only looks who is there
			b.provisioned(d)
		}
		if n := strings.Count(b.said(), "SN-001 done"); n > 1 {
			t.Errorf("stopped at line %d: done %d times", at, n)
		}
	}
}
