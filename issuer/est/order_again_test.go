package est

import (
	"bytes"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// TestOrderAgain repeats a request under a work order long after the profile's window: a
// line whose answer was lost gets the certificate that was issued, and pays no second unit.
// A certificate that has ended is no answer.
func TestOrderAgain(t *testing.T) {
	f := newOrderFixture(t)
	f.order(t, "WO-1", func(o *ledger.Order) { o.NotAfter = f.clock.now().Add(30 * 24 * time.Hour) })
	right := basic("WO-1", "secret of WO-1")
	key := newKey(t)
	first := f.ask(t, "line", "simpleenroll", "press-1", key, nil, right).certificates(t)[0]
	f.clock.advance(20 * time.Hour) // the window is an hour, and the certificate lives for a day
	again := f.ask(t, "line", "simpleenroll", "press-1", key, nil, right).certificates(t)[0]
	if !bytes.Equal(first.Raw, again.Raw) || f.taken(t, "WO-1") != 1 {
		t.Errorf("the same request got another certificate: %v; %d units are taken", !bytes.Equal(first.Raw, again.Raw), f.taken(t, "WO-1"))
	}
	f.clock.advance(5 * time.Hour) // it has ended
	third := f.ask(t, "line", "simpleenroll", "press-1", key, nil, right).certificates(t)[0]
	if bytes.Equal(first.Raw, third.Raw) || f.taken(t, "WO-1") != 2 {
		t.Errorf("a certificate that has ended was the answer; %d units are taken", f.taken(t, "WO-1"))
	}
}
