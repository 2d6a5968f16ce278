package dpsreg

import (
	"testing"
	"time"

	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/hub"
)

// Session is what tests outside of the package see of one.
type Session struct {
	s *session

	Certificates armCertificates
	DPS          *dps.Client
	Hubs         map[string]*hub.Client
}

// Session returns the clients of a target, as Apply and Deliver use them.
func (c *Connections) Session(t Target) (Session, error) {
	s, err := c.session(t)
	if err != nil {
		return Session{}, err
	}
	return Session{s, s.certificates, s.dps, s.hubs}, nil
}

// Same reports whether two sessions share their clients, and SamePace whether they
// share the pace of calls.
func (s Session) Same(other Session) bool { return s.DPS == other.DPS }
func (s Session) SamePace(other Session) bool {
	for host, l := range s.s.limiters {
		if other.s.limiters[host] != l {
			return false
		}
	}
	return len(s.s.limiters) == len(other.s.limiters)
}

// Stopped reports whether calls of a host wait because the service said so.
func (s Session) Stopped(host string) bool {
	l := s.s.limiters[host]
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.pause)
}

// Passes reports whether retry would try again.
func Passes(err error) bool { return passes(err) }

// FailFast makes the pauses after failures short until the test ends, so that every
// call of a run can be made to fail.
func FailFast(t testing.TB) {
	base, stop := retryBase, quiet
	retryBase, quiet = time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() { retryBase, quiet = base, stop })
}
