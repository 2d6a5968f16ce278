package faults

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mintmark/internal/bench/hsm"
	"mintmark/internal/pkitest"
)

func newBenchToken(b *testing.B) *hsm.Token {
	b.Helper()
	pkitest.Tool(b, "gcc")
	pkitest.Tool(b, "softhsm2-util")
	for _, name := range []string{"SOFTHSM2_CONF", "DELAY_MODULE", "DELAY_US"} {
		b.Setenv(name, "") // for what hsm sets to be put back
	}
	t, err := hsm.New(b.Context(), b.TempDir())
	if errors.Is(err, hsm.ErrMissing) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// BenchmarkSupervised is P-256 through the key store against C_SignInit and C_Sign in a C
// program with the same library and number of sessions: at least 0.8 of it with the 4
// sessions and more that a token is used with.
func BenchmarkSupervised(b *testing.B) {
	t := newBenchToken(b)
	for _, sessions := range []int{1, 4, 8, 32} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			for b.Loop() {
				supervised, bare, err := hsm.Ratio(b.Context(), t, sessions, 3*time.Second)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(supervised/bare, "ratio")
				b.ReportMetric(supervised, "supervised/s")
				b.ReportMetric(bare, "bare/s")
			}
		})
	}
}

// BenchmarkSessions is 32 sessions against one, where each C_Sign takes 5 ms longer: at
// least 25 times as many signatures.
func BenchmarkSessions(b *testing.B) {
	t := newBenchToken(b)
	for b.Loop() {
		many, one, err := hsm.Growth(b.Context(), t, 32, 3*time.Second, 5*time.Millisecond)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(many/one, "ratio")
		b.ReportMetric(many, "many/s")
		b.ReportMetric(one, "one/s")
	}
}
