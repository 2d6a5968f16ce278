package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// How much of what was seen waits at most. What is beyond is dropped and counted: the
// device then counts as one that has not followed yet, until it comes again.
const (
	maxSeen    = 4096    // exchanges that are to be judged
	maxNotes   = 20_000  // devices whose notes are to be written
	maxNoted   = 200_000 // devices whose notes are known to be written
	notesEvery = time.Second
)

// followers notes which devices have followed the rotation that runs: who was given the new
// anchors, and who shows the new path. It works behind the answers, and while no rotation
// runs it does nothing.
type followers struct {
	ra    *issuer.RA
	notes interface {
		NoteAnchors(ctx context.Context, rotation string, notes []ledger.AnchorNote) error
	}
	log     *slog.Logger
	queue   chan sighting
	asked   chan chan error // for what is to be written at once
	dropped prometheus.Counter
	noted   prometheus.Counter

	mu      sync.Mutex
	id      string                // of the rotation that known is about
	done    map[[32]byte]evidence // of which client certificates what is in the ledger
	waiting map[[32]byte]evidence // of which client certificates what is in the queue

	shown shown // only of the goroutine that judges
}

// evidence is what an exchange may say of a device.
type evidence uint8

const (
	fetched evidence = 1 << iota // it was given the new anchors
	proved                       // it took a server that only they vouch for
	chains                       // it was given, or has shown, the path under the new CA
)

// sighting is an exchange that may say something.
type sighting struct {
	seen     est.Seen
	rotation ledger.Rotation
	says     evidence
	key      [32]byte
	at       time.Time
}

func newFollowers(s *Server) *followers {
	return &followers{
		ra: s.ra, notes: s.ledger, log: s.log, queue: make(chan sighting, maxSeen), asked: make(chan chan error), done: make(map[[32]byte]evidence), waiting: make(map[[32]byte]evidence),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rotation_notes_dropped_total", Help: "Exchanges of which was not noted that the device has followed the rotation, because too many waited or the ledger could not write.",
		}),
		noted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rotation_notes_total", Help: "Notes that a device has followed the rotation.",
		}),
	}
}

func (f *followers) collectors() []prometheus.Collector {
	return []prometheus.Collector{f.dropped, f.noted}
}

// see is est.Config.Seen.
func (f *followers) see(s est.Seen) {
	r, running := f.ra.RotationOf(s.Issuer)
	if !running {
		return
	}
	says := f.possible(s, r)
	if says == 0 {
		return
	}
	one := sighting{seen: s, rotation: r, says: says, key: sha256.Sum256(s.Client.Raw), at: f.ra.Now()}
	if f.knows(one) || !f.ours(s.Client) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if says&^f.waiting[one.key] == 0 {
		return
	}
	select {
	case f.queue <- one:
		f.waiting[one.key] |= says
	default:
		f.dropped.Inc()
	}
}

// ours reports whether one of our authorities has signed a certificate. The names of
// authorities are public, and what anybody can make up would fill the queue: devices that have
// followed would be forgotten. It costs less than the handshake did.
func (f *followers) ours(c *x509.Certificate) bool {
	return slices.ContainsFunc(f.ra.Authorities(), func(a *ca.Authority) bool {
		return bytes.Equal(a.Certificate().RawSubject, c.RawIssuer) && c.CheckSignatureFrom(a.Certificate()) == nil
	})
}

// begun says that what waits of a client certificate is being judged.
func (f *followers) begun(s sighting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, s.key)
}

// knows reports whether all that an exchange may say is in the ledger.
func (f *followers) knows(s sighting) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id == s.rotation.ID && trusting(s.says)&^f.done[s.key] == 0
}

// trusting takes what was fetched and what was proved for one: either is noted.
func trusting(e evidence) evidence {
	if e&(fetched|proved) != 0 {
		e |= fetched | proved
	}
	return e
}

// possible is what an exchange says if its client is a device of ours.
func (f *followers) possible(s est.Seen, r ledger.Rotation) (says evidence) {
	next, err := f.ra.Authority(r.New)
	if err != nil {
		return 0 // it is not there yet
	}
	if s.Anchors && contains(s.Given, next.Certificate()) {
		says |= fetched
	}
	if r.Kind != ledger.RotateRoot {
		return says
	}
	// A chain is of the CA that has issued the client's certificate, which need not be the
	// label's: judge looks at that.
	if len(s.Given) > 0 || len(s.Above) > 0 {
		says |= chains
	}
	if s.Shown != nil && oldIsGone(r) {
		says |= proved
	}
	return says
}

// oldIsGone reports whether this server may show a chain that the old root does not vouch
// for: once it is given out no more, or vouches for nothing new.
func oldIsGone(r ledger.Rotation) bool {
	state := rotation.State(r.State)
	return state.From(rotation.TrustRemoved) || r.Emergency && state.From(rotation.Switched)
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(list, func(have *x509.Certificate) bool { return bytes.Equal(have.Raw, c.Raw) })
}

// judge makes a note of an exchange; ok is false if it says nothing after all.
func (f *followers) judge(ctx context.Context, s *sighting) (note ledger.AnchorNote, ok bool, err error) {
	record, err := f.ra.Holder(ctx, s.seen.Client)
	var refusal *issuer.Refusal
	switch {
	case errors.Is(err, issuer.ErrForeign), errors.As(err, &refusal):
		return note, false, nil // no device of ours
	case err != nil:
		return note, false, err
	case record.Purpose != ledger.ForDevice || record.Device == "" || !record.InForce(s.at) || f.ra.Withdrawn(record.Issuer):
		return note, false, nil
	}
	note.Device = record.Device
	if s.says&fetched != 0 {
		note.Trusts, note.How = s.at, "fetched"
	}
	if s.rotation.Kind == ledger.RotateRoot {
		path := f.ra.PathUnder(record.Issuer, s.rotation.New)
		if len(path) > 1 && (contains(s.seen.Given, path[len(path)-1]) || contains(s.seen.Above, path[len(path)-1])) {
			note.Chains = s.at
		} else {
			s.says &^= chains
		}
		if s.says&proved != 0 && !f.shown.only(f.ra, s.seen.Shown, s.rotation, s.at) {
			s.says &^= proved
		} else if s.says&proved != 0 && note.Trusts.IsZero() {
			note.Trusts, note.How = s.at, "proved"
		}
	}
	return note, !note.Trusts.IsZero() || !note.Chains.IsZero(), nil
}

// shown remembers of one chain of the server whether only the new root vouches for it.
type shown struct {
	chain *tls.Certificate
	id    string
	new   bool
}

func (k *shown) only(ra *issuer.RA, chain *tls.Certificate, r ledger.Rotation, at time.Time) bool {
	if k.chain == chain && k.id == r.ID {
		return k.new
	}
	before, err := ra.Authority(r.Old)
	next, missing := ra.Authority(r.New)
	if err != nil || missing != nil {
		return false
	}
	*k = shown{chain, r.ID, !vouches(before.Certificate(), chain, at) && vouches(next.Certificate(), chain, at)}
	return k.new
}

// vouches reports whether who trusts a root alone accepts a server with that chain.
func vouches(root *x509.Certificate, chain *tls.Certificate, at time.Time) bool {
	between := x509.NewCertPool()
	for _, der := range chain.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err := chain.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at})
	return err == nil
}
