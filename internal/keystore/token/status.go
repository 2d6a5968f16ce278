package token

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// Status is how a token is.
type Status struct {
	Name string
	Legs []LegStatus // primary, then spare
}

// LegStatus is how the primary or the spare is.
type LegStatus struct {
	Spare    bool
	State    State
	Since    time.Time
	Detail   string   // the last failure in words; never a secret
	Problems []string // of single keys: one that is not there, hangs or has attributes to know of
	Token    wire.Token
	Parts    int      // of the PIN that were typed, and
	Needed   int      // are needed, while it waits for operators
	By       []string // who has typed them
	Reopens  map[string]int
}

// State is one of a closed set.
type State string

// The states of a token.
const (
	Idle    State = "idle"    // not used yet
	Ready   State = "ready"   // signs
	Opening State = "opening" // sessions are opened anew
	Absent  State = "absent"  // no such token at the moment
	Failing State = "failing" // hangs, crashes or errs: asked again after a pause
	Locked  State = "locked"  // waits for operators
	Refused State = "refused" // refused the PIN: waits for another one
)

var states = []State{Idle, Ready, Opening, Absent, Failing, Locked, Refused}

// Status says how the token is. It does not wait for it.
func (t *Token) Status() Status {
	s := Status{Name: t.cfg.Name}
	for _, l := range t.legs {
		s.Legs = append(s.Legs, l.status())
	}
	return s
}

func (l *leg) status() LegStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LegStatus{
		Spare: l.spare, State: l.state, Since: l.since,
		Token: l.info, Reopens: maps.Clone(l.reopens),
	}
	if l.err != nil {
		s.Detail = l.err.Error()
	}
	if l.src.PIN == nil && !l.src.Pad && (l.state == Locked || l.state == Refused) {
		s.Needed = l.src.Parts
		s.Parts = l.parts.count()
		s.By = slices.Clone(l.parts.by)
	}
	for k, lk := range l.keys {
		name := keyHash(k)
		switch {
		case lk.breaker.tripped():
			s.Problems = append(s.Problems, fmt.Sprintf("key %s: %s, so it is tried alone later", name, lk.breaker.reason))
		case lk.problem != nil:
			s.Problems = append(s.Problems, fmt.Sprintf("key %s: %v", name, lk.problem))
		case lk.refusal != nil:
			s.Problems = append(s.Problems, fmt.Sprintf("key %s: the token refuses to sign with it: %v", name, lk.refusal))
		}
		for _, w := range lk.warnings {
			s.Problems = append(s.Problems, fmt.Sprintf("key %s: %s", name, w))
		}
	}
	slices.Sort(s.Problems)
	return s
}

// keyHash names a key for people: the start of the SHA-256 of its SubjectPublicKeyInfo.
func keyHash(k *key) string {
	sum := sha256.Sum256([]byte(k.spki))
	return fmt.Sprintf("%x", sum[:8])
}
