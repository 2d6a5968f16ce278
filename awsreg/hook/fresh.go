package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// DefaultMaxAge is how old the manifest may be unless something shorter is set.
const DefaultMaxAge = 24 * time.Hour

// clockSkew is how far the head may lie in the future. A factory whose clock
// runs further ahead would make its manifest fresh for longer than allowed.
const clockSkew = 5 * time.Minute

// freshHead returns the head, or refuses because it is too old. certificateID is
// for the refusal.
func freshHead(ctx context.Context, store interface {
	Head(context.Context) (Head, error)
}, certificateID string, limit time.Duration, now time.Time) (Head, error) {
	refuse := func(format string, args ...any) (Head, error) {
		return Head{}, refusal(StaleManifest, certificateID, format, args...)
	}
	head, err := store.Head(ctx)
	if errors.Is(err, ErrUnknown) {
		return refuse("the manifest has no head: mintmark has never finished pushing it")
	}
	if err != nil {
		return Head{}, fmt.Errorf("reading the manifest's head: %w", err)
	}
	if limit <= 0 {
		limit = DefaultMaxAge
	}
	if head.MaxAge > 0 && head.MaxAge < limit {
		limit = head.MaxAge
	}
	switch age := now.Sub(head.PushedAt); {
	case age > limit:
		return refuse("the manifest was last complete at %s, %s ago, and may be %s old: is server %q running, and can it reach AWS?",
			head.PushedAt.Format(time.RFC3339), age.Round(time.Second), limit, head.Server)
	case age < -clockSkew:
		return refuse("the manifest's head lies in the future, at %s: the clock of server %q is wrong", head.PushedAt.Format(time.RFC3339), head.Server)
	}
	return head, nil
}

func clock(now func() time.Time) time.Time {
	if now != nil {
		return now()
	}
	return time.Now()
}

func logger(l *slog.Logger) *slog.Logger {
	if l != nil {
		return l
	}
	return slog.New(slog.DiscardHandler)
}
