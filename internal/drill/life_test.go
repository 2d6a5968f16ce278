package drill

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// workers is how many devices do something at a time: the ledger takes those together that
// come together.
const workers = 64

// parallel does something with each device and returns the first error.
func parallel(fleet []*device, do func(*device) error) error {
	var wait sync.WaitGroup
	var once sync.Once
	var first error
	work := make(chan *device, 64)
	for range workers {
		wait.Go(func() {
			for d := range work {
				if err := do(d); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	for _, d := range fleet {
		work <- d
	}
	close(work)
	wait.Wait()
	return first
}

// produce has a fleet made: the stations of the line get each device its certificate and its
// anchors, and all but those that go into the warehouse are tried at their cloud.
func (p *plant) produce(n int) {
	p.t.Helper()
	p.fleet = muster(n, rand.New(rand.NewPCG(1, 2)))
	if err := p.manufacture(p.fleet); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) manufacture(list []*device) error {
	ctx, now := p.t.Context(), p.clock.now()
	if err := parallel(list, func(d *device) error {
		if err := p.enroll(ctx, d); err != nil {
			return err
		}
		// Some are due while the drill goes on.
		d.renew = now.Add(350*day + 27*d.period)
		d.next = now.Add(d.period)
		if d.class.away {
			d.next = now.Add(370*day + d.period/4)
		}
		return p.anchor(ctx, d)
	}); err != nil {
		return err
	}
	return p.arrive(list)
}

// anchor has the station give a device its anchors, which tells the server nothing of the
// device: it asks without a certificate.
func (p *plant) anchor(ctx context.Context, d *device) error {
	station := *d
	station.leaf = nil
	body, err := p.ask(ctx, &station, "GET", "cacerts", nil)
	if err != nil {
		return err
	}
	g, err := p.given(body)
	if err != nil {
		return err
	}
	if d.above, err = g.path(d.leaf); err == nil {
		d.store = g.store
	}
	return err
}

// arrive has devices come to their cloud for the first time, which takes more than one
// attempt where the cloud provisions just in time.
func (p *plant) arrive(list []*device) error {
	deadline := time.Now().Add(3 * patience)
	for {
		var mu sync.Mutex
		var left []*device
		err := parallel(list, func(d *device) error {
			if d.class.stock && !d.unpacked || d.class.lost {
				return nil
			}
			err := p.admits(d)
			if err != nil {
				mu.Lock()
				left = append(left, d)
				mu.Unlock()
			} else {
				d.known = true
			}
			return err
		})
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		list = left
		time.Sleep(50 * time.Millisecond)
	}
}

// online reports whether a device comes online at all.
func (d *device) online() bool {
	return d.replacedBy == "" && (!d.class.stock || d.unpacked)
}

// live lets time pass. Devices that come online check the server with what they trust by
// the time that they believe, fetch anchors, and renew when it is time; then they connect
// to their cloud. What comes more than once in that time does so once here.
func (p *plant) live(d time.Duration) {
	p.t.Helper()
	p.clock.pass(d)
	now := p.clock.now()
	var due []*device
	for _, d := range p.fleet {
		if d.online() && !d.next.After(now) {
			due = append(due, d)
		}
	}
	p.visit(due)
	for _, d := range due {
		d.next, d.back = now.Add(d.period), true
	}
}

// visit is one time online of each of these devices. What the server saw it writes behind its
// answers, and drops where too much waits: so they come in portions.
func (p *plant) visit(list []*device) {
	p.t.Helper()
	shown := p.shown()
	ctx, now := p.t.Context(), p.clock.now()
	var mu sync.Mutex
	var renewed []*device
	const portion = 2000
	for start := 0; start < len(list); start += portion {
		err := parallel(list[start:min(start+portion, len(list))], func(d *device) error {
			if p.verifies(d, shown, now) != nil {
				return nil // it sees nobody whom it can believe
			}
			if err := p.fetch(ctx, d); err != nil {
				return err
			}
			if now.After(d.renew) {
				if err := p.enroll(ctx, d); err != nil {
					return err
				}
				if err := p.fetch(ctx, d); err != nil {
					return err // the path of its new certificate
				}
				mu.Lock()
				renewed = append(renewed, d)
				mu.Unlock()
			}
			return nil
		})
		if err != nil {
			p.t.Errorf("a device that is online: %v", err)
		}
	}
	if err := p.arrive(renewed); err != nil {
		p.t.Errorf("a device that has renewed: %v", err)
	}
}
