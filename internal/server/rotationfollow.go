package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// following is what this server last knew of rotations.
type following struct {
	mu     sync.Mutex
	shapes map[string]string // of the CAs of each AWS target
	counts map[ledger.AnchorClass]int
	of     string // the rotation that was counted
	// anchored says by which states of rotations DIR/root.pem was last written, and
	// unanchored why it could not be.
	anchored, unanchored string
	// plans are those of rotations, read, by their SHA-256.
	plans sync.Map
}

// followRotations has the clouds told again where a rotation has changed what a target
// consists of: certificates of a CA may have been recorded before it was one of the
// target's.
func (s *Server) followRotations() {
	s.following.mu.Lock()
	defer s.following.mu.Unlock()
	s.anchorFile()
	first := s.following.shapes == nil
	shapes := make(map[string]string)
	for _, target := range s.aws.targets() {
		var shape strings.Builder
		for _, ca := range target.CAs {
			fmt.Fprintf(&shape, "%s %s\n", ca.Issuer, ca.State)
		}
		shapes[target.Name] = shape.String()
		if d := s.aws.by[target.Name]; !first && s.following.shapes[target.Name] != shape.String() {
			d.stale.Store(true)
			d.wake()
			d.beat.Set()
		}
	}
	s.following.shapes = shapes
}

const (
	// followEvery is how often a server looks whether another has moved a rotation.
	followEvery = 2 * time.Second
	// countEvery is how often the devices of a running rotation are counted for the
	// metrics, which reads all of them.
	countEvery = 5 * time.Minute
)

// keepFollowing follows what other servers do to rotations, and counts, until ctx ends.
func (s *Server) keepFollowing(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var counted time.Time
	var state string
	for {
		s.followRotations()
		r, runs := s.running()
		if now := time.Now(); !runs || r.ID+r.State != state || now.Sub(counted) >= countEvery {
			s.countFollowers(ctx, r, runs)
			state, counted = r.ID+r.State, now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// running is the rotation that has not come to its end at the clouds; of several the last.
func (s *Server) running() (ledger.Rotation, bool) {
	list := s.ra.KnownRotations()
	for i := len(list) - 1; i >= 0; i-- {
		if state := rotation.State(list[i].State); !state.Over() && !state.From(rotation.Retired) {
			return list[i], true
		}
	}
	return ledger.Rotation{}, false
}

func (s *Server) countFollowers(ctx context.Context, r ledger.Rotation, runs bool) {
	var counts map[ledger.AnchorClass]int
	if runs {
		var err error
		if counts, err = (rotationFleet{s}).Count(ctx, r); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("the devices of a rotation were not counted", "rotation", r.ID, "error", err)
			}
			return
		}
	}
	s.following.mu.Lock()
	defer s.following.mu.Unlock()
	s.following.counts, s.following.of = counts, r.ID
}
