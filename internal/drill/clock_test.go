package drill

import (
	"sync/atomic"
	"time"
)

const day = 24 * time.Hour

// clock is the time of the server and of the clouds, which devices are wrong about.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) pass(d time.Duration) { c.ahead.Add(int64(d)) }
