package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer/est"
)

// TestKillAtStep kills the server when a request has passed each numbered step
// of the issuance cycle. The device asks again, and is served.
func TestKillAtStep(t *testing.T) {
	dir := newState(t)
	f := &fleet{t: t}
	server := startChild(t, dir)
	for _, step := range []int{1, 2, 3, 5, 6, 7, 8, 9} {
		d := f.next()
		server.tell(t, "kill "+string(rune('0'+step)))
		err := f.enroll(t.Context(), server.client(t), d)
		if err == nil || errors.As(err, new(*est.StatusError)) {
			t.Fatalf("step %d: the server was to be killed and answered: %v", step, err)
		}
		server.wait(t)

		// What the crash left, before any repair.
		left := make(map[ledger.State]ledger.Certificate)
		for _, r := range records(t, dir) {
			if r.Device == d.name {
				left[r.State] = r
			}
		}
		_, open := left[ledger.Open]
		recorded, valid := left[ledger.Valid]
		if open != (step >= 6 && step < 9) || valid != (step == 9) {
			t.Errorf("step %d left open %v, valid %v", step, open, valid)
		}

		server = startChild(t, dir)
		again := f.next()
		if again.name != d.name {
			t.Fatalf("the next device is %s, not %s again", again.name, d.name)
		}
		if err := f.enroll(t.Context(), server.client(t), again); err != nil {
			t.Fatalf("step %d: asking again: %v", step, err)
		}
		got := f.receipts[len(f.receipts)-1].certificate
		if step == 9 && string(got.Raw) != string(recorded.DER) {
			t.Errorf("step 9: asking again gave another certificate than the recorded one")
		}
	}
	server.stop(t)
	all := f.check(dir)
	states := make(map[ledger.State]int)
	for _, r := range all {
		if r.Purpose == ledger.ForDevice {
			states[r.State]++
		}
	}
	// Three steps lie between the intent and the certificate.
	if states[ledger.Valid] != 8 || states[ledger.Voided] != 3 {
		t.Errorf("the ledger has %v, want 8 valid and 3 void", states)
	}
}

// TestKillUnderLoad kills the server at random while devices enroll.
func TestKillUnderLoad(t *testing.T) {
	kills := 6
	if os.Getenv("MINTMARK_LONG") != "" {
		kills = 120
	}
	if testing.Short() {
		kills = 2
	}
	dir := newState(t)
	f := &fleet{t: t}
	// On a slow machine a few more, until some devices were served and some let
	// down.
	for n := 0; n < kills || n < kills+20 && (f.count() == 0 || len(f.unanswered) == 0); n++ {
		server := startChild(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(20*time.Millisecond+rand.N(380*time.Millisecond), server.kill)
		f.run(ctx, server, 16)
		cancel()
		timer.Stop()
		server.kill()
	}
	received, letDown := f.count(), len(f.unanswered)
	// Whoever was let down is served.
	server := startChild(t, dir)
	client := server.client(t)
	for range letDown {
		if err := f.enroll(t.Context(), client, f.next()); err != nil {
			t.Errorf("asking again: %v", err)
		}
	}
	server.stop(t)
	all := f.check(dir)
	if received == 0 || letDown == 0 {
		t.Errorf("%d certificates received, %d devices let down: the kills tell nothing", received, letDown)
	}
	t.Logf("%d kills, %d certificates received, %d devices asked again, %d records", kills, received, letDown, len(all))
}

// TestKillAtStart kills the server again and again while it starts.
func TestKillAtStart(t *testing.T) {
	dir := newState(t)
	f := &fleet{t: t}
	for range 8 {
		server := newChild(t, dir)
		timer := time.AfterFunc(rand.N(400*time.Millisecond), server.kill)
		for range server.lines { // until it is gone
		}
		timer.Stop()
		server.kill()
	}
	server := startChild(t, dir)
	if err := f.enroll(t.Context(), server.client(t), f.next()); err != nil {
		t.Error(err)
	}
	server.stop(t)
	f.check(dir)
}
