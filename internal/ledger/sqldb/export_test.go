package sqldb

import (
	"context"
	"time"
)

// ReplayInto is Replay for any number of logs.
func ReplayInto(ctx context.Context, path string, dirs []string) (Replayed, error) {
	return replayInto(ctx, newSQLite(path), dirs, nil)
}

// HoldBatches has batches wait for all that is announced, for as long as it takes.
func HoldBatches(s *Store) {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	s.queue.busy = func() bool { return true }
	s.queue.linger, s.queue.longest = time.Hour, time.Hour
}

// Queued is how many writes wait for their batch.
func Queued(s *Store) int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.queue.ops)
}
