package revocation

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// PlaceState is how it stands with one place.
type PlaceState struct {
	Name string
	// Complete is when it was last seen to have everything; zero for never since the start.
	Complete time.Time
	// Behind is how many files it lacks, or has an older one of.
	Behind int
	// Problems say what keeps files from being there, one for each at most.
	Problems []string
	// Numbers are those of the CRLs that it holds, as far as they were read back.
	Numbers map[ledger.CRLName]int64
}

// placed is a place and what is known of it.
type placed struct {
	Place
	wake chan struct{}

	mu       sync.Mutex
	read     time.Time                // when everything was last read back
	held     map[string][32]byte      // hash of what is there, by file name
	numbers  map[ledger.CRLName]int64 // of what is there
	ahead    map[ledger.CRLName]int64 // highest number there that the ledger does not know
	complete time.Time                // see PlaceState
	behind   int
	problems []string
}

func newPlaced(place Place) *placed {
	return &placed{
		Place: place, wake: make(chan struct{}, 1), held: make(map[string][32]byte),
		numbers: make(map[ledger.CRLName]int64), ahead: make(map[ledger.CRLName]int64),
	}
}

// poke has the place looked at now. It never blocks.
func (p *placed) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// holds reports whether the place is known to have that content.
func (p *placed) holds(file string, content [32]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, ok := p.held[file]
	return ok && held == content
}

// isHeld notes what a file of the place is; a nil content forgets it.
func (p *placed) isHeld(w wanted, content []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if content == nil {
		delete(p.held, w.file)
		return
	}
	p.held[w.file] = sha256.Sum256(content)
	if w.crl != nil {
		p.numbers[w.name()] = w.crl.Number
	}
}

// forget has everything read back that was not for some time.
func (p *placed) forget(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.read).Abs() >= readBack {
		clear(p.held)
		p.read = now
	}
}

// done notes what came of a look at the place, and reports whether all is there.
func (p *placed) done(now time.Time, behind int, problems []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind, p.problems = behind, problems
	if behind == 0 {
		p.complete = now
	}
	return behind == 0
}

// seen is the highest number of a CRL of which a place has a later one than the ledger;
// zero for none.
func (p *Publisher) seen(name ledger.CRLName) int64 {
	var highest int64
	for _, place := range p.places {
		place.mu.Lock()
		highest = max(highest, place.ahead[name])
		place.mu.Unlock()
	}
	return highest
}

// PlaceStates lists how it stands with each place.
func (p *Publisher) PlaceStates() []PlaceState {
	list := make([]PlaceState, 0, len(p.places))
	for _, place := range p.places {
		place.mu.Lock()
		s := PlaceState{Name: place.Name(), Complete: place.complete, Behind: place.behind, Problems: slices.Clone(place.problems), Numbers: make(map[ledger.CRLName]int64)}
		for name, number := range place.numbers {
			s.Numbers[name] = number
		}
		place.mu.Unlock()
		list = append(list, s)
	}
	return list
}
