package sqldb

import "context"

// ReplayInto is Replay for any number of logs.
func ReplayInto(ctx context.Context, path string, dirs []string) (Replayed, error) {
	return replayInto(ctx, newSQLite(path), dirs, nil)
}
