package dpsreg

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Connecting is what Connections are made of.
type Connecting struct {
	// Secret reads a file of a secret, with the checks that every secret file has. Must
	// be set.
	Secret func(path string) ([]byte, error)
	// Deadline bounds one Deliver, and the work on one resource. Five minutes if zero.
	Deadline time.Duration
	Now      func() time.Time // time.Now if nil
	Logger   *slog.Logger     // discarded if nil
}

// Connections are the clients of DPS instances and what belongs to them. They may be
// used concurrently. The rate limit of an instance holds across all that use the same
// Connections: a Registrar and Devices of one process should.
type Connections struct {
	cfg Connecting

	mu       sync.Mutex
	sessions map[string]*session // by name of the target
}

// NewConnections checks what they are made of. It makes no call.
func NewConnections(c Connecting) (*Connections, error) {
	if c.Secret == nil {
		return nil, errors.New("dpsreg: Connecting.Secret is not set")
	}
	if c.Deadline <= 0 {
		c.Deadline = 5 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Connections{cfg: c, sessions: make(map[string]*session)}, nil
}

// session returns the clients of a target. It reads files of secrets and makes no call.
// The clients are made once, and again when a file or the configuration of how to
// connect has changed; the pace of calls goes on.
func (c *Connections) session(t Target) (*session, error) {
	secrets := make(map[string][]byte)
	secret := func(path string) ([]byte, error) {
		if data, ok := secrets[path]; ok {
			return data, nil
		}
		data, err := c.cfg.Secret(path)
		if err == nil {
			secrets[path] = data
		}
		return data, err
	}
	of, err := t.connection(secret)
	if err != nil {
		return nil, fmt.Errorf("DPS target %q: %w", t.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.sessions[t.Name]
	if old == nil || old.of != of {
		fresh, err := connect(t, old, secret, c.cfg.Now)
		if err != nil {
			return nil, fmt.Errorf("DPS target %q: %w", t.Name, err)
		}
		fresh.of = of
		c.sessions[t.Name] = fresh
		if old != nil {
			old.http.CloseIdleConnections()
		}
		old = fresh
	}
	s := *old // what is wanted may differ from call to call
	s.target = t
	return &s, nil
}
