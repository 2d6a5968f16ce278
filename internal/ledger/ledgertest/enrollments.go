package ledgertest

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// waitMost is how many entries may wait in these checks.
const waitMost = 5

// request is what waits for approval, for a device and a key.
func (b *bench) request(device, key string, change ...func(*ledger.Enrollment)) ledger.Enrollment {
	e := ledger.Enrollment{
		Key: Key(key), Subject: "CN=" + device, Label: "line", Profile: "gateway", Device: device, Cause: "label",
		Requester: ledger.Requester{Kind: "password", Name: "station-2", Address: netip.MustParseAddr("192.0.2.7")}, CSR: []byte("csr of " + key),
		At: b.now, ExpiresAt: b.now.Add(time.Hour),
	}
	for _, c := range change {
		c(&e)
	}
	return e
}

// queue queues a request and returns the entry.
func (b *bench) queue(device, key string, change ...func(*ledger.Enrollment)) ledger.Enrollment {
	b.t.Helper()
	e, err := b.QueueEnrollment(b.ctx, b.request(device, key, change...), waitMost)
	b.ok(err)
	return e
}

func (b *bench) decide(id string, approve bool) ledger.Enrollment {
	b.t.Helper()
	e, err := b.DecideEnrollment(b.ctx, id, approve, "anna", "seen", b.now, b.now.Add(time.Hour))
	b.ok(err)
	return e
}

// approvedFor queues a request and approves it.
func (b *bench) approvedFor(device, key string, change ...func(*ledger.Enrollment)) ledger.Enrollment {
	b.t.Helper()
	return b.decide(b.queue(device, key, change...).ID, true)
}

// entry checks in which state an entry is.
func (b *bench) entry(id string, want ledger.EnrollmentState) ledger.Enrollment {
	b.t.Helper()
	e, err := b.Enrollment(b.ctx, id)
	b.ok(err)
	if e.State != want || (e.Serial != "") != (want == ledger.EnrollmentIssued) {
		b.t.Fatalf("enrollment is %s with serial number %q, want %s", e.State, e.Serial, want)
	}
	return e
}

// refusedByEnrollment checks that an error is the entry's and says why.
func (b *bench) refusedByEnrollment(err error, id, why string) {
	b.t.Helper()
	var refusal *ledger.EnrollmentError
	if !errors.As(err, &refusal) || refusal.ID != id || refusal.Why != why {
		b.t.Fatalf("error is %v, want enrollment %s: %s", err, id, why)
	}
}

// listedEnrollments are the identifiers that a query finds.
func (b *bench) listedEnrollments(query ledger.EnrollmentQuery) []string {
	b.t.Helper()
	all, err := b.Enrollments(b.ctx, query)
	b.ok(err)
	var ids []string
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids
}

var enrollmentChecks = []check{
	{"a request waits as it came, and pending whatever it says", func(t *testing.T, b *bench) {
		want := b.request("dev-1", "k1")
		came := want
		came.State, came.Serial, came.Other, came.DecidedBy, came.DecidedAt, came.Note = ledger.EnrollmentApproved, "0a", "0b", "mallory", b.now, "trust me"
		e, err := b.QueueEnrollment(b.ctx, came, 1)
		b.ok(err)
		want.ID, want.State, want.Purpose = e.ID, ledger.EnrollmentPending, ledger.ForDevice
		b.equal("queued", e, want)
		got, err := b.Enrollment(b.ctx, e.ID)
		b.ok(err)
		b.equal("found", got, want)
		got, err = b.FindEnrollment(b.ctx, want.Key, want.Subject, b.now)
		b.ok(err)
		b.equal("found by key and subject", got, want)
		_, err = b.Enrollment(b.ctx, e.ID+"0")
		b.want(err, ledger.ErrNotFound)
	}},
	{"the same request is one of the same key and subject", func(t *testing.T, b *bench) {
		first := b.queue("dev-1", "k1")
		b.now = b.now.Add(time.Minute)
		again := b.queue("dev-1", "k1", func(e *ledger.Enrollment) {
			e.Label, e.Profile, e.Cause, e.Requester, e.CSR = "other", "sensor", "webhook", ledger.Requester{Kind: "maker", Name: "x"}, []byte("another signature")
		})
		b.equal("repeated", again, first)
		for n, other := range []ledger.Enrollment{
			b.queue("dev-1", "k2"), b.queue("dev-1", "k1", func(e *ledger.Enrollment) { e.Subject = "CN=dev-1,O=Other" }),
		} {
			if other.ID <= first.ID || other.At != b.now {
				t.Errorf("another request %d: %+v", n, other)
			}
		}
		_, err := b.FindEnrollment(b.ctx, Key("k3"), "CN=dev-1", b.now)
		b.want(err, ledger.ErrNotFound)
		_, err = b.FindEnrollment(b.ctx, Key("k1"), "CN=dev-2", b.now)
		b.want(err, ledger.ErrNotFound)
	}},
	{"a decision is returned to whoever asks again", func(t *testing.T, b *bench) {
		first := b.queue("dev-1", "k1")
		b.now = b.now.Add(time.Minute)
		decided := b.decide(first.ID, false)
		want := first
		want.State, want.DecidedAt, want.DecidedBy, want.Note, want.ExpiresAt = ledger.EnrollmentRejected, b.now, "anna", "seen", b.now.Add(time.Hour)
		b.equal("rejected", decided, want)
		b.equal("asked again", b.queue("dev-1", "k1"), want)
		b.now = b.now.Add(time.Minute)
		want.State, want.DecidedAt, want.ExpiresAt = ledger.EnrollmentApproved, b.now, b.now.Add(time.Hour)
		b.equal("approved after all", b.decide(first.ID, true), want)
		b.equal("asked again", b.queue("dev-1", "k1"), want)
		b.decide(first.ID, true)
		b.decide(first.ID, false)
		b.entry(first.ID, ledger.EnrollmentRejected)
	}},
	{"what is over is as if it were not there", func(t *testing.T, b *bench) {
		pending, rejected := b.queue("dev-1", "k1"), b.decide(b.queue("dev-2", "k2").ID, false)
		b.now = pending.ExpiresAt
		for _, e := range []ledger.Enrollment{pending, rejected} {
			_, err := b.FindEnrollment(b.ctx, e.Key, e.Subject, b.now)
			b.want(err, ledger.ErrNotFound)
			_, err = b.FindEnrollment(b.ctx, e.Key, e.Subject, b.now.Add(-time.Microsecond))
			b.ok(err)
			_, err = b.DecideEnrollment(b.ctx, e.ID, true, "anna", "", b.now, b.now.Add(time.Hour))
			b.refusedByEnrollment(err, e.ID, "expired")
		}
		fresh := b.queue("dev-1", "k1")
		if fresh.ID <= pending.ID || fresh.State != ledger.EnrollmentPending {
			t.Errorf("queued again as %+v", fresh)
		}
		b.equal("not over", b.listedEnrollments(ledger.EnrollmentQuery{Now: b.now}), []string{fresh.ID})
		b.equal("all", b.listedEnrollments(ledger.EnrollmentQuery{}), []string{pending.ID, rejected.ID, fresh.ID})
	}},
	{"a decision needs somebody, an end and an entry", func(t *testing.T, b *bench) {
		e := b.queue("dev-1", "k1")
		for n, decide := range []func() error{
			func() error {
				_, err := b.DecideEnrollment(b.ctx, e.ID, true, "", "", b.now, b.now.Add(time.Hour))
				return err
			},
			func() error {
				_, err := b.DecideEnrollment(b.ctx, e.ID, true, "anna", "", b.now, b.now)
				return err
			},
			func() error {
				_, err := b.DecideEnrollment(b.ctx, e.ID, true, "anna", strings.Repeat("x", 2000), b.now, b.now.Add(time.Hour))
				return err
			},
		} {
			if decide() == nil {
				t.Errorf("decision %d was recorded", n)
			}
		}
		for _, id := range append(odd, "nothing") {
			_, err := b.DecideEnrollment(b.ctx, id, true, "anna", "", b.now, b.now.Add(time.Hour))
			b.want(err, ledger.ErrNotFound)
		}
		b.entry(e.ID, ledger.EnrollmentPending)
	}},
	{"the certificate under another key is named", func(t *testing.T, b *bench) {
		first := b.issue(b.intent("dev-1", "k1"))
		b.equal("the same key", b.queue("dev-1", "k1").Other, ledger.Serial(""))
		b.equal("another key", b.queue("dev-1", "k2").Other, first)
		b.equal("another device", b.queue("dev-2", "k3").Other, ledger.Serial(""))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: first}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.equal("revoked", b.queue("dev-1", "k4").Other, ledger.Serial(""))
		b.ok(b.begin(b.intent("dev-3", "k5"))) // what is not issued is no certificate
		b.equal("open", b.queue("dev-3", "k6").Other, ledger.Serial(""))
	}},
	{"who approved without knowing of another key is asked again", func(t *testing.T, b *bench) {
		e := b.approvedFor("dev-1", "k1")
		seconds := b.approvedFor("dev-2", "k2", func(e *ledger.Enrollment) { e.Cause = "second-key" })
		b.equal("nothing has changed", b.queue("dev-1", "k1"), b.entry(e.ID, ledger.EnrollmentApproved))
		other := b.issue(b.intent("dev-1", "other"))
		b.issue(b.intent("dev-2", "other-2"))
		b.now = b.now.Add(time.Minute)
		again := b.queue("dev-1", "k1")
		want := e
		want.State, want.Other, want.DecidedAt, want.DecidedBy, want.Note = ledger.EnrollmentPending, other, time.Time{}, "", ""
		b.equal("asked again", again, want)
		b.equal("stored", b.entry(e.ID, ledger.EnrollmentPending), want)
		b.decide(e.ID, true)
		b.equal("approved with it", b.queue("dev-1", "k1").State, ledger.EnrollmentApproved)
		b.equal("approved as a second key", b.queue("dev-2", "k2").ID, seconds.ID)
		b.entry(seconds.ID, ledger.EnrollmentApproved)
	}},
	{"so many wait and no more", func(t *testing.T, b *bench) {
		var all []ledger.Enrollment
		for n := range waitMost {
			all = append(all, b.queue(fmt.Sprint("dev-", n), fmt.Sprint("k", n)))
		}
		full := func() {
			t.Helper()
			var many *ledger.TooManyError
			if _, err := b.QueueEnrollment(b.ctx, b.request("dev-9", "k9"), waitMost); !errors.As(err, &many) || many.Count != waitMost+1 || many.Most != waitMost {
				t.Fatalf("one more: %v", err)
			}
		}
		full()
		b.queue("dev-0", "k0") // waits already
		b.decide(all[0].ID, false)
		b.queue("dev-9", "k9")
		b.decide(all[1].ID, true)
		last := b.queue("dev-10", "k10")
		if _, err := b.QueueEnrollment(b.ctx, b.request("dev-11", "k11"), waitMost); err == nil {
			t.Error("more wait than may")
		}
		b.now = last.ExpiresAt // what is over does not wait
		for n := range waitMost {
			b.queue(fmt.Sprint("new-", n), fmt.Sprint("n", n))
		}
		full()
	}},
	{"one device fills no queue", func(t *testing.T, b *bench) {
		full := func(device, key string, change ...func(*ledger.Enrollment)) {
			t.Helper()
			var many *ledger.TooManyError
			if _, err := b.QueueEnrollment(b.ctx, b.request(device, key, change...), 100); !errors.As(err, &many) || many.Most != ledger.MostOfOne || !many.OfOne {
				t.Fatalf("%s, one more: %v", key, err)
			}
		}
		fill := func(device, prefix string, count int, change ...func(*ledger.Enrollment)) (all []ledger.Enrollment) {
			t.Helper()
			for n := range count {
				e, err := b.QueueEnrollment(b.ctx, b.request(device, fmt.Sprint(prefix, n), change...), 100)
				b.ok(err)
				all = append(all, e)
			}
			return all
		}
		all := fill("dev-1", "k", ledger.MostOfOne)
		full("dev-1", "more")
		full("dev-1", "more", func(e *ledger.Enrollment) {
			e.Label, e.Profile, e.Requester = "other", "other", ledger.Requester{Kind: "maker", Name: "01"}
		})
		b.equal("waits already", b.queue("dev-1", "k0").ID, all[0].ID)
		fill("dev-2", "l", ledger.MostOfOne) // of the same requester

		b.decide(all[0].ID, false)
		b.decide(all[1].ID, true)
		all = append(all[2:], fill("dev-1", "more", 2)...)
		full("dev-1", "again")
		// Nor by an approval that goes back.
		again := b.decide(fill("dev-3", "m", 1)[0].ID, true)
		b.issue(b.intent("dev-3", "other"))
		fill("dev-3", "m-", ledger.MostOfOne)
		full("dev-3", "m0")
		b.entry(again.ID, ledger.EnrollmentApproved)
		b.now = all[0].ExpiresAt // what is over does not wait
		fill("dev-1", "new", ledger.MostOfOne)
		full("dev-1", "newer")

		// Without a device it is who asks.
		server := func(e *ledger.Enrollment) { e.Device, e.Purpose = "", ledger.ForServer }
		fill("est", "s", ledger.MostOfOne, server)
		full("est", "t", server)
		fill("est", "u", ledger.MostOfOne, server, func(e *ledger.Enrollment) { e.Requester.Name = "station-3" })
		fill("est", "v", ledger.MostOfOne, server, func(e *ledger.Enrollment) { e.Requester.Kind = "maker" })
	}},
	{"of the keys of one device that come at once, so many wait and no more", func(t *testing.T, b *bench) {
		var queued, refused atomic.Int32
		together(func(n int) {
			var many *ledger.TooManyError
			_, err := b.QueueEnrollment(b.ctx, b.request("dev-1", fmt.Sprint("k", n)), 1000)
			switch {
			case err == nil:
				queued.Add(1)
			case errors.As(err, &many):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
		b.equal("queued", queued.Load(), ledger.MostOfOne)
		b.equal("refused", refused.Load(), clients-ledger.MostOfOne)
	}},
	{"while no more may wait, an approval that does not suffice stays one", func(t *testing.T, b *bench) {
		e := b.approvedFor("dev-1", "k1")
		b.issue(b.intent("dev-1", "another"))
		var many *ledger.TooManyError
		if _, err := b.QueueEnrollment(b.ctx, b.request("dev-1", "k1"), 0); !errors.As(err, &many) {
			t.Errorf("asked again: %v", err)
		}
		b.entry(e.ID, ledger.EnrollmentApproved)
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "k1", with(e))); !errors.As(err, &clone) {
			t.Errorf("with the approval: %v", err)
		}
	}},
	{"listed by state, device and label, page by page", func(t *testing.T, b *bench) {
		pending := b.queue("dev-1", "k1")
		rejected := b.decide(b.queue("dev-2", "k2").ID, false)
		approved := b.approvedFor("dev-3", "k3")
		issued := b.approvedFor("dev-4", "k4", func(e *ledger.Enrollment) { e.Label = "other" })
		b.issue(b.intent("dev-4", "k4", func(i *ledger.Intent) { i.Enrollment = issued.ID }))
		all := []string{pending.ID, rejected.ID, approved.ID, issued.ID}
		for _, c := range []struct {
			query ledger.EnrollmentQuery
			want  []string
		}{
			{ledger.EnrollmentQuery{}, all},
			{ledger.EnrollmentQuery{State: ledger.EnrollmentPending}, all[:1]},
			{ledger.EnrollmentQuery{State: ledger.EnrollmentRejected}, all[1:2]},
			{ledger.EnrollmentQuery{State: ledger.EnrollmentApproved}, all[2:3]},
			{ledger.EnrollmentQuery{State: ledger.EnrollmentIssued}, all[3:]},
			{ledger.EnrollmentQuery{Device: "dev-3"}, all[2:3]},
			{ledger.EnrollmentQuery{Device: "dev-3", State: ledger.EnrollmentIssued}, nil},
			{ledger.EnrollmentQuery{Label: "other"}, all[3:]},
			{ledger.EnrollmentQuery{After: all[0], Limit: 2}, all[1:3]},
			{ledger.EnrollmentQuery{After: all[2], Limit: 2}, all[3:]},
			{ledger.EnrollmentQuery{Now: b.now.Add(2 * time.Hour)}, nil},
			{ledger.EnrollmentQuery{Device: odd[0]}, nil},
		} {
			b.equal(fmt.Sprintf("%+v", c.query), b.listedEnrollments(c.query), c.want)
		}
	}},
	{"identifiers ascend, whatever the clock says", func(t *testing.T, b *bench) {
		last := ""
		for n := range waitMost {
			e := b.queue(fmt.Sprint("dev-", n), fmt.Sprint("k", n))
			if e.ID <= last {
				t.Errorf("%s after %s", e.ID, last)
			}
			last = e.ID
			b.now = b.now.Add(-time.Minute)
		}
	}},
	{"what cannot be recorded is refused", func(t *testing.T, b *bench) {
		for n, change := range []func(*ledger.Enrollment){
			func(e *ledger.Enrollment) { e.Key = [32]byte{} },
			func(e *ledger.Enrollment) { e.Profile = "" },
			func(e *ledger.Enrollment) { e.Cause = "" },
			func(e *ledger.Enrollment) { e.At = time.Time{} },
			func(e *ledger.Enrollment) { e.ExpiresAt = e.At },
			func(e *ledger.Enrollment) { e.Purpose = ledger.ForServer },
			func(e *ledger.Enrollment) { e.Purpose, e.Device = ledger.ForGateway, "" },
			func(e *ledger.Enrollment) { e.Subject = "CN=\xff" },
			func(e *ledger.Enrollment) { e.Subject = strings.Repeat("x", 1<<20) },
			func(e *ledger.Enrollment) { e.CSR = make([]byte, 1<<20) },
			func(e *ledger.Enrollment) { e.Device = "a\x00" },
		} {
			if _, err := b.QueueEnrollment(b.ctx, b.request("dev-1", "k1", change), waitMost); err == nil || errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("request %d: %v", n, err)
			}
		}
		b.ok(b.Health())
		// A subject is a stranger's, and so is its length.
		for _, subject := range []string{"CN=a\x00b", "CN=" + strings.Repeat("é", 5000), ""} {
			e := b.queue("dev-1", "k1", func(e *ledger.Enrollment) { e.Subject = subject })
			found, err := b.FindEnrollment(b.ctx, e.Key, subject, b.now)
			b.ok(err)
			b.equal("found", found, e)
		}
		_, err := b.FindEnrollment(b.ctx, Key("k1"), "CN=\xff", b.now)
		b.want(err, ledger.ErrNotFound)
	}},
	{"of many that come at once there is one entry", func(t *testing.T, b *bench) {
		var ids [clients]string
		together(func(n int) {
			e, err := b.QueueEnrollment(b.ctx, b.request("dev-1", "k1"), waitMost)
			if err != nil {
				t.Error(err)
			}
			ids[n] = e.ID
		})
		for _, id := range ids {
			if id != ids[0] {
				t.Errorf("entries %s and %s", ids[0], id)
			}
		}
	}},
	{"of many that come at once no more wait than may", func(t *testing.T, b *bench) {
		var queued, refused atomic.Int32
		together(func(n int) {
			var many *ledger.TooManyError
			_, err := b.QueueEnrollment(b.ctx, b.request(fmt.Sprint("dev-", n), fmt.Sprint("k", n)), waitMost)
			switch {
			case err == nil:
				queued.Add(1)
			case errors.As(err, &many):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
		b.equal("queued", queued.Load(), waitMost)
		b.equal("refused", refused.Load(), clients-waitMost)
	}},
	{"what has been over for long is forgotten", func(t *testing.T, b *bench) {
		old := b.queue("dev-1", "k1")
		issued := b.approvedFor("dev-2", "k2")
		b.issue(b.intent("dev-2", "k2", func(i *ledger.Intent) { i.Enrollment = issued.ID }))
		b.now = b.now.Add(91 * 24 * time.Hour)
		fresh := b.queue("dev-3", "k3")
		b.equal("left", b.listedEnrollments(ledger.EnrollmentQuery{}), []string{fresh.ID})
		for _, e := range []ledger.Enrollment{old, issued} {
			_, err := b.Enrollment(b.ctx, e.ID)
			b.want(err, ledger.ErrNotFound)
		}
	}},
}
