package server

import (
	"context"
	"time"
)

// warmAfter is how long a server has run when its database is read ahead: what waits for it
// already comes first.
const warmAfter = 2 * time.Second

// warm reads the database ahead, once.
func (s *Server) warm(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(warmAfter):
	}
	begin := time.Now()
	n, err := s.readAhead(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Warn("the ledger is not read ahead, so that the first requests wait for the disk", "error", err)
	case n > 0:
		s.log.Debug("the ledger was read ahead", "bytes", n, "took", time.Since(begin).Round(time.Millisecond))
	}
}
