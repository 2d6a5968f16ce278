package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func token(ctx context.Context, o Options, dir string) ([]Figure, error) {
	var wanted []string
	for _, name := range []string{hsmRatio, hsmSessions} {
		if o.Only == "" || o.Only == name {
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	dir = filepath.Join(dir, "hsm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	t, err := hsm.New(ctx, dir)
	if errors.Is(err, hsm.ErrMissing) {
		fmt.Fprintf(o.Out, "without %s and %s: %v\n", hsmRatio, hsmSessions, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var figures []Figure
	for _, name := range wanted {
		run := func() (float64, float64, error) { return hsm.Ratio(ctx, t, 8, o.Duration) }
		unit := "of C_Sign alone, 8 sessions"
		if name == hsmSessions {
			run = func() (float64, float64, error) { return hsm.Growth(ctx, t, 32, o.Duration, hsmDelay) }
			unit = "of one session, 32 sessions, C_Sign 5 ms slower"
		}
		signatures, reference, err := run()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		figures = append(figures, Figure{Name: name, Value: signatures / reference, Unit: unit, rates: [2]float64{signatures, reference}})
	}
	return figures, nil
}

func reportToken(out io.Writer, figures []Figure) error {
	for _, f := range figures {
		if _, err := fmt.Fprintf(out, "%s  %.2f %s (%.0f and %.0f signatures/s)\n", f.Name, f.Value, f.Unit, f.rates[0], f.rates[1]); err != nil {
			return err
		}
	}
	return nil
}
