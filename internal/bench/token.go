package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mintmark/internal/bench/hsm"
)

// The runs with a token.
const (
	hsmRatio    = "hsm_p256_ratio"
	hsmSessions = "hsm_sessions_ratio"

	hsmDelay = 5 * time.Millisecond // a network HSM's
)

// token measures signatures in a token through the key store: against the library
// alone with as many sessions, and with 32 sessions against one where each signature
// takes 5 ms longer. None where SoftHSM2 is not installed.
func (r *run) token(ctx context.Context) error {
	dir := filepath.Join(r.dir, "hsm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	t, err := hsm.New(ctx, dir)
	if errors.Is(err, hsm.ErrMissing) {
		r.without(hsmRatio+" and "+hsmSessions, err)
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range []string{hsmRatio, hsmSessions} {
		if !r.wants(name) {
			continue
		}
		run := func() (float64, float64, error) { return hsm.Ratio(ctx, t, 8, r.Duration) }
		unit := "of C_Sign alone, 8 sessions"
		if name == hsmSessions {
			run = func() (float64, float64, error) { return hsm.Growth(ctx, t, 32, r.Duration, hsmDelay) }
			unit = "of one session, 32 sessions, C_Sign 5 ms slower"
		}
		signatures, reference, err := run()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.add(Figure{Name: name, Value: signatures / reference, Unit: unit, note: fmt.Sprintf("%.0f and %.0f signatures/s", signatures, reference)})
	}
	return nil
}
