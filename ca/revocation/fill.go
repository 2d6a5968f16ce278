package revocation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

const (
	// look is how often a place is compared with the ledger, where another server may
	// have stored a CRL.
	look = 10 * time.Second
	// readBack is how often everything in a place is read back, to put right what
	// somebody has removed or changed there.
	readBack = 15 * time.Minute
	// mostWait bounds the pause after failures.
	mostWait = 2 * time.Minute
	// placeTimeout bounds one read or write of a place.
	placeTimeout = time.Minute
	// givesUp is how many files in a row fail before a place is left alone for a while.
	givesUp = 3
	// mostProblems bounds what the state of a place says.
	mostProblems = 5
)

// RunPlaces keeps every place up to date until ctx ends. One that fails or hangs delays
// no other, and no signature.
func (p *Publisher) RunPlaces(ctx context.Context) {
	var wait sync.WaitGroup
	for _, place := range p.places {
		wait.Go(func() { p.keep(ctx, place) })
	}
	wait.Wait()
}

func (p *Publisher) keep(ctx context.Context, place *placed) {
	failures := 0
	for {
		pause := look
		if p.fill(ctx, place) {
			failures = 0
		} else if ctx.Err() == nil {
			failures++
			pause = min(look<<min(failures-1, 10), mostWait)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-place.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// errLater says that a place has a CRL that must not be replaced.
var errLater = errors.New("the ledger is behind")

// wanted is a file that every place should have.
type wanted struct {
	file      string
	authority *ca.Authority
	crl       *ledger.CRL // without DER; nil for a CA certificate
}

func (w wanted) name() ledger.CRLName {
	return ledger.CRLName{Issuer: w.crl.Issuer, Shard: w.crl.Shard}
}

// wanted lists all files, in no order: one that fails always must not stand in the way of
// the same others each time.
func (p *Publisher) wanted(ctx context.Context) ([]wanted, error) {
	has, err := p.stored(ctx)
	if err != nil {
		return nil, err
	}
	var list []wanted
	for _, authority := range p.Authorities() {
		list = append(list, wanted{file: "ca/" + authority.Name() + ".crt", authority: authority})
		for name, crl := range has {
			if name.Issuer == authority.Name() && crl.Number > 0 {
				list = append(list, wanted{file: "crl/" + nameText(name.Issuer, name.Shard) + ".crl", authority: authority, crl: &crl})
			}
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, nil
}

// fill brings a place up to date as far as it can, and reports whether it is.
func (p *Publisher) fill(ctx context.Context, place *placed) bool {
	place.forget(p.Now())
	list, err := p.wanted(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.Logger.Error("looking for what a place of CRLs lacks", "place", place.Name(), "error", err)
		}
		return false
	}
	var problems []string
	behind, row := 0, 0
	for _, w := range list {
		if row >= givesUp {
			behind++ // as far as one knows
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, placeTimeout)
		err := p.put(attempt, place, w)
		cancel()
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			row = 0
			continue
		}
		if row++; errors.Is(err, errLater) {
			row = 0 // the place is well
		}
		behind++
		place.isHeld(w, nil)
		p.unplaced.WithLabelValues(place.Name()).Inc()
		p.Logger.Error("putting a file into a place of CRLs", "place", place.Name(), "file", w.file, "error", err)
		if len(problems) < mostProblems {
			problems = append(problems, fmt.Sprintf("%s: %v", w.file, err))
		}
	}
	ok := place.done(p.Now(), behind, problems)
	if ok {
		p.placedAt.WithLabelValues(place.Name()).Set(float64(p.Now().Unix()))
	}
	return ok
}

// put has a place hold one file, and reads it back.
func (p *Publisher) put(ctx context.Context, place *placed, w wanted) error {
	file := File{Type: typeCertificate, MaxAge: time.Hour, Modified: w.authority.Certificate().NotBefore}
	if w.crl == nil {
		file.Content = w.authority.Certificate().Raw
	} else {
		if place.current(w) {
			return nil
		}
		crl, err := p.Ledger.LatestCRL(ctx, w.crl.Issuer, w.crl.Shard)
		if err != nil {
			return fmt.Errorf("reading the CRL: %w", err)
		}
		w.crl = &crl
		file = File{Content: crl.DER, Type: typeCRL, MaxAge: crlAge(crl, p.Now()), Modified: crl.ThisUpdate}
	}
	if place.holds(w.file, sha256.Sum256(file.Content)) {
		return nil
	}
	have, version, err := place.Get(ctx, w.file)
	if err != nil {
		return err
	}
	if bytes.Equal(have, file.Content) {
		place.isHeld(w, have)
		return nil
	}
	if w.crl != nil {
		if err := p.follows(ctx, place, w, have); err != nil {
			return err
		}
	}
	if err := place.Put(ctx, w.file, file, version); err != nil {
		return err
	}
	// Whatever the answer was: what counts is what others read there.
	have, _, err = place.Get(ctx, w.file)
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	if !bytes.Equal(have, file.Content) {
		return fmt.Errorf("reading it back: %w", ErrChanged)
	}
	place.isHeld(w, have)
	return nil
}

// current reports whether the place is known to have the CRL of that number.
func (p *placed) current(w wanted) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, held := p.held[w.file]
	return held && p.numbers[w.name()] == w.crl.Number
}

// follows refuses to put a CRL in place of one that is not older. That there is one means
// that the ledger was restored from a copy: the next number must be higher.
func (p *Publisher) follows(ctx context.Context, place *placed, w wanted, have []byte) error {
	head, err := ca.ReadCRLHead(have)
	if err != nil || head.Number < w.crl.Number {
		return nil // nothing that relying parties could hold against ours
	}
	// Only a CRL of the authority's own makes numbers rise: not one that somebody put there.
	list, err := x509.ParseRevocationList(have)
	if err != nil || list.CheckSignatureFrom(w.authority.Certificate()) != nil {
		p.Logger.Error("a place of CRLs holds one that the authority did not sign: it is replaced", "place", place.Name(), "file", w.file)
		return nil
	}
	// Another server may have signed it a moment ago.
	latest, err := p.Ledger.LatestCRL(ctx, w.crl.Issuer, w.crl.Shard)
	if err != nil {
		return fmt.Errorf("reading the CRL: %w", err)
	}
	if latest.Number > w.crl.Number {
		return ErrChanged
	}
	if errors.Is(w.authority.Ready(), ca.ErrNoSigner) {
		return fmt.Errorf("%w: CRL %d is there, and here is %d: import the later one (mintmark ca crl %s --import)", errLater, head.Number, w.crl.Number, w.crl.Issuer)
	}
	place.mu.Lock()
	place.ahead[w.name()] = max(place.ahead[w.name()], head.Number)
	place.mu.Unlock()
	if p.Wake != nil {
		p.Wake()
	}
	return fmt.Errorf("%w: CRL %d is there, which is not the %d of the ledger: the next one gets a higher number", errLater, head.Number, w.crl.Number)
}
