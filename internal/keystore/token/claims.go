package token

import (
	"fmt"
	"path/filepath"
	"sync"

	"mintmark/internal/keystore/token/wire"
)

// Claims keep two of the tokens that share them, or one and its spare, from being the
// same one under two names: each login with a wrong PIN would count twice, and the spare
// would be none. The zero value is ready; it may be used concurrently, and nil claims
// nothing.
type Claims struct {
	mu sync.Mutex
	of map[claim]*leg
}

// claim is what tells a token from every other one: the file of its module, and its
// serial number. There are libraries with one serial number for all of their tokens, so
// that the label belongs to it, or else the slot.
type claim struct {
	module, serial, label string
	slot                  uint
}

// take claims the token that info is about for l, in place of the one that it had
// before. It returns the name of the one that has it already, or "".
func (c *Claims) take(l *leg, info wire.Token) string {
	if c == nil {
		return ""
	}
	k := claim{module: l.src.Module, serial: info.Serial, label: info.Label}
	if path, err := filepath.EvalSymlinks(k.module); err == nil {
		k.module = path
	}
	if k.serial == "" {
		k.slot = info.Slot
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.of[k]; other != nil {
		if other == l {
			return ""
		}
		return fmt.Sprintf("%q (%s)", other.t.cfg.Name, other.label)
	}
	c.drop(l)
	if c.of == nil {
		c.of = make(map[claim]*leg)
	}
	c.of[k] = l
	return ""
}

// release gives up what l has claimed.
func (c *Claims) release(l *leg) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(l)
}

func (c *Claims) drop(l *leg) {
	for k, of := range c.of {
		if of == l {
			delete(c.of, k)
		}
	}
}
