package batch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// work does one part, or goes on with it: whatever of it was done before is found again, and
// what is made again has the same keys and so the same certificates.
func (r *run) work(ctx context.Context, p part) error {
	list := make([]Item, len(p.items))
	for i, n := range p.items {
		var err error
		if list[i], err = r.items.get(n); err != nil {
			return err
		}
	}
	keys, err := r.keys(ctx, p)
	if err != nil {
		return err
	}
	for i := range keys {
		list[i].Key = keys[i].Public
	}
	results, err := r.ask(ctx, list)
	if err != nil {
		return err
	}
	r.did("issued")
	done := record{Part: p.number, Done: true}
	s := &shipment{plan: &r.Plan, part: p.number, root: r.root}
	var again []int
	for i, result := range results {
		if result.Certificate == nil {
			done.Refused = append(done.Refused, refused{p.items[i], result.Rule, result.Text})
			again = append(again, p.items[i])
			continue
		}
		if err := fits(list[i], result); err != nil {
			return fmt.Errorf("part %d: %w", p.number, err)
		}
		done.Issued++
		if result.Prior {
			done.Prior++
		}
		one := made{name: nameIn(result.Certificate, list[i].Name), device: result.Device, chain: s.chainOf(result.Chain), cert: result.Certificate}
		if keys != nil {
			one.key = keys[i].Private
		}
		s.devices = append(s.devices, one)
	}
	if done.Issued > 0 {
		files, settle, err := s.put(filepath.Join(r.dir, Delivery))
		if err != nil {
			return fmt.Errorf("writing the files of part %d: %w", p.number, err)
		}
		r.did("written")
		if err := settle(); err != nil {
			return fmt.Errorf("writing the files of part %d: %w", p.number, err)
		}
		r.did("named")
		done.Files = files
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	if err := r.ended(done, entries); err != nil {
		return err
	}
	r.did("journaled")
	if r.spool != nil {
		if err := r.spool.shrink(p.number, p.items, keys, again); err != nil {
			return err
		}
		r.did("cleaned")
	}
	return nil
}

// keys returns the keys of a part, sealed and on disk; nil if devices have their own.
func (r *run) keys(ctx context.Context, p part) ([]pair, error) {
	if r.spool == nil {
		return nil, nil
	}
	items, keys, err := r.spool.get(p.number)
	if err != nil {
		return nil, err
	}
	if keys != nil {
		if !slices.Equal(items, p.items) {
			return nil, fmt.Errorf("the sealed keys of part %d are of other devices than the journal says", p.number)
		}
		return keys, nil
	}
	held, err := r.spool.held(p.items)
	if err != nil {
		return nil, err
	}
	if r.slowKeys() {
		// One part after the other: the first one is on disk, and asked for, the sooner.
		r.making.Lock()
		defer r.making.Unlock()
	}
	fresh, err := makeKeys(ctx, r.Plan.KeyType, len(p.items)-len(held), r.madeKey)
	if err != nil {
		return nil, err
	}
	keys = make([]pair, len(p.items))
	for i, n := range p.items {
		if known, ok := held[n]; ok {
			keys[i] = known
		} else {
			keys[i], fresh = fresh[0], fresh[1:]
		}
	}
	r.did("made")
	if err := r.spool.put(p.number, p.items, keys); err != nil {
		return nil, fmt.Errorf("keeping the keys of part %d: %w", p.number, err)
	}
	r.did("spooled")
	return keys, nil
}

// attempts is how often an item is asked for that may succeed later, and patience how long
// it waits before each, doubled up to mostPatience.
const (
	attempts     = 8
	patience     = 250 * time.Millisecond
	mostPatience = 10 * time.Second
)

// ask has certificates issued, and asks again for what may succeed later. What is still open
// after that is an error: the part is not done, and keeps its keys, because a certificate
// may exist whose answer was lost.
func (r *run) ask(ctx context.Context, list []Item) ([]Result, error) {
	results := make([]Result, len(list))
	left := make([]int, len(list))
	for i := range left {
		left[i] = i
	}
	var last error
	for try, wait := 0, patience; len(left) > 0; try++ {
		if try == attempts {
			return nil, fmt.Errorf("%d devices of a part have no answer after %d attempts: %w", len(left), attempts, last)
		}
		if try > 0 {
			if err := r.pause(ctx, &wait); err != nil {
				return nil, err
			}
		}
		asked := make([]Item, len(left))
		for i, n := range left {
			asked[i] = list[n]
		}
		answers, err := r.certifier.Certify(ctx, r.Plan.ID, asked)
		var final *FinalError
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &final):
			return nil, err
		case err == nil && len(answers) != len(asked):
			return nil, fmt.Errorf("%d devices were asked for and %d answered", len(asked), len(answers))
		case err != nil:
			last = err
			r.waits(last)
			continue
		}
		var open []int
		for i, n := range left {
			if results[n] = answers[i]; answers[i].Certificate == nil && answers[i].Retry {
				open = append(open, n)
				last = fmt.Errorf("rule %s: %s", answers[i].Rule, answers[i].Text)
			}
		}
		if len(open) < len(left) {
			try, wait = 0, patience // it goes on
			r.waits(nil)
		} else {
			r.waits(last)
		}
		left = open
	}
	return results, nil
}

// pause waits before another attempt, and makes the next pause a longer one.
func (r *run) pause(ctx context.Context, wait *time.Duration) error {
	select {
	case <-time.After(*wait):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	*wait = min(2**wait, mostPatience)
	return nil
}

// sign has the manifest signed, with the same patience.
func (r *run) sign(ctx context.Context, manifest []byte) ([]byte, error) {
	for try, wait := 1, patience; ; try++ {
		signature, err := r.certifier.Sign(ctx, r.Plan.ID, manifest)
		var final *FinalError
		switch {
		case err == nil:
			r.waits(nil)
			return signature, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &final) || try == attempts:
			return nil, fmt.Errorf("having the manifest signed: %w", err)
		}
		r.waits(err)
		if err := r.pause(ctx, &wait); err != nil {
			return nil, err
		}
	}
}

// nameIn is how a delivery calls the device of a certificate: as was asked if the certificate
// says so, too. A profile may drop the common name of a request, or put one of its own into all
// certificates; then it is the serial number of the device.
func nameIn(c *x509.Certificate, asked string) string {
	s := c.Subject
	if s.SerialNumber != "" && s.CommonName != asked {
		return s.SerialNumber
	}
	return cmp.Or(s.CommonName, asked)
}

// fits refuses a certificate that is not the one that was asked for.
func fits(item Item, r Result) error {
	want := item.Key
	if len(item.CSR) > 0 {
		_, key, err := examine(&item)
		if err != nil {
			return err
		}
		want = key
	}
	if !bytes.Equal(r.Certificate.RawSubjectPublicKeyInfo, want) {
		return fmt.Errorf("the certificate for %q has another key than the one that was sent", item.Name)
	}
	if len(item.CSR) == 0 && r.Certificate.Subject.CommonName != item.Name {
		return fmt.Errorf("the certificate for %q is of %q", item.Name, r.Certificate.Subject.CommonName)
	}
	return nil
}
