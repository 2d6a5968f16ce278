package drill

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// watch judges every device of the fleet in a state, one of each kind also by OpenSSL and
// over real connections.
func (p *plant) watch(t *table, o *openssl, state string) {
	p.t.Helper()
	began := time.Now()
	s, now := p.shown(), p.clock.now()
	var mu sync.Mutex
	kinds := make(map[string]*device)
	err := parallel(p.fleet, func(d *device) error {
		outcome, why := p.judge(d, s, now)
		mu.Lock()
		defer mu.Unlock()
		t.add(d.class.name, state, outcome, d.name, why)
		if outcome == fine && d.known && kinds[d.kind()] == nil {
			kinds[d.kind()] = d
		}
		return nil
	})
	if err != nil {
		p.t.Error(err)
	}
	var list []*device
	for _, d := range kinds {
		list = append(list, d)
		if o == nil {
			continue
		}
		err := o.verify(d.store, s.chain, d.says(now), "sslserver")
		if err == nil {
			// The relying parties of a plant trust what the device trusts by now.
			err = o.verify(p.stores.of(d.above[len(d.above)-1:]), d.chain()[:len(d.chain())-1], now, "sslclient")
		}
		if err != nil {
			t.add(d.class.name, state, cutOff, d.name, err.Error())
		}
	}
	if err := parallel(list, func(d *device) error {
		if err := p.wired(d); err != nil {
			mu.Lock()
			defer mu.Unlock()
			t.add(d.class.name, state, cutOff, d.name, "over a connection: "+err.Error())
		}
		return nil
	}); err != nil {
		p.t.Error(err)
	}
	p.t.Logf("%-18s %d devices, %d kinds, judged in %s", state, len(p.fleet), len(list), time.Since(began).Round(time.Millisecond))
	runtime.GC()
}

// standing is what the ledger says of each device of a rotation.
func (p *plant) standing(id string) map[string]ledger.AnchorDevice {
	p.t.Helper()
	q, err := rotation.AnchorQuery(p.record(id), p.clock.now())
	if err != nil {
		p.t.Fatal(err)
	}
	all := make(map[string]ledger.AnchorDevice)
	for q.Limit = 1000; ; {
		list, next, err := p.inside.Ledger.Anchors(p.t.Context(), q)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, d := range list {
			all[d.Device] = d
		}
		if q.After = next; next == "" {
			return all
		}
	}
}

// followed waits until the server has on record that those who could follow have: what it
// dropped because too much waited, it notes when the device comes again. It ends the test
// when several visits in a row bring nothing, however long one takes.
func (p *plant) followed(id string, as ...ledger.AnchorClass) {
	p.t.Helper()
	now, s := p.clock.now(), p.shown()
	for best, idle := len(p.fleet)+1, 0; ; {
		var left []*device
		standing := p.standing(id)
		for _, d := range p.fleet {
			switch {
			case d.class.pinned, !d.online(), d.class.away && !d.back:
				continue
			case d.flavor == "active" && slices.Contains(as, ledger.AnchorTrusts):
				continue // it is given the new root with the switch
			}
			if p.verifies(d, s, now) == nil && !slices.Contains(as, standing[d.name].Class) {
				left = append(left, d)
			}
		}
		if len(left) == 0 {
			return
		}
		if idle++; len(left) < best {
			best, idle = len(left), 0
		}
		if idle == 30 {
			p.t.Fatalf("%d devices that were online are not on record, among them %s (%s): %+v", len(left), left[0].name, left[0].class.name, standing[left[0].name])
		}
		p.visit(left)
		time.Sleep(time.Second) // the server writes once a second
	}
}

// until polls.
func (p *plant) until(what string, done func() (bool, string)) {
	p.t.Helper()
	deadline, last := time.Now().Add(2*patience), ""
	for {
		ok, now := done()
		if ok {
			return
		}
		if last = now; time.Now().After(deadline) {
			p.t.Fatalf("waiting until %s: %s", what, last)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
