package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

const (
	leaseJob = "rotation"
	leaseTTL = time.Minute
)

// exclusive has one caller at a time move rotations: of this machine by name, of all servers by a
// lease. Versions of the record tell the second one that it came late, but a cloud may have
// been changed by then. The context that is returned ends when the lease is lost; end gives
// it back.
func (m *Machine) exclusive(ctx context.Context, id string) (inner context.Context, end func(), err error) {
	if !m.moving.TryLock() {
		return nil, nil, refused("rotation-busy", "a rotation is being moved by this server at this moment: mintmark rotate journal %s shows how far it is", id)
	}
	if m.world.Leases == nil {
		return ctx, m.moving.Unlock, nil
	}
	fence, err := m.world.Leases.Acquire(ctx, leaseJob, m.world.Holder, m.world.Now(), leaseTTL)
	if err != nil {
		m.moving.Unlock()
		if errors.Is(err, ledger.ErrBusy) {
			return nil, nil, refused("rotation-busy", "a rotation is being moved by another server at this moment, or was until less than %s ago: mintmark rotate journal %s shows how far it is", span(leaseTTL), id)
		}
		return nil, nil, fmt.Errorf("taking the lease for rotations: %w", err)
	}
	inner, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(m.extend(inner, fence))
	}()
	return inner, func() {
		defer m.moving.Unlock()
		cancel(nil)
		<-ended
		// It ends now, also for a caller who has gone. If that fails, it lapses.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		_, _ = m.world.Leases.Acquire(ctx, leaseJob, m.world.Holder, m.world.Now(), 0)
	}, nil
}

// extend keeps the lease until ctx ends, and says why it gave up.
func (m *Machine) extend(ctx context.Context, fence ledger.Fence) error {
	ticker := time.NewTicker(leaseTTL / 3)
	defer ticker.Stop()
	for missed := 0; missed < 2; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		again, err := m.world.Leases.Acquire(ctx, leaseJob, m.world.Holder, m.world.Now(), leaseTTL)
		switch {
		case err == nil && again == fence:
			missed = 0
		case err == nil, errors.Is(err, ledger.ErrBusy):
			return ledger.ErrLapsed
		default:
			missed++
		}
	}
	return ledger.ErrLapsed
}
