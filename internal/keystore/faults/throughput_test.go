package faults

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mintmark/internal/bench/hsm"
	"mintmark/internal/pkitest"
)

// TestFaultThroughput judges both figures, on a machine that has nothing else to do: make
// faults runs it first and alone. The best of three rounds counts, as what else runs can
// only lower it on one side.
func TestFaultThroughput(t *testing.T) {
	if !long {
		t.Skip("it measures: make faults runs it")
	}
	token := newBenchToken(t)
	for _, sessions := range []int{4, 8, 32} {
		best := 0.0
		for range 3 {
			supervised, bare, err := hsm.Ratio(t.Context(), token, sessions, 3*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			best = max(best, supervised/bare)
		}
		t.Logf("%d sessions: %.2f of bare C_Sign", sessions, best)
		if best < 0.8 {
			t.Errorf("with %d sessions %.2f of bare C_Sign, want 0.8", sessions, best)
		}
	}
	growth := 0.0
	for range 3 {
		many, one, err := hsm.Growth(t.Context(), token, 32, 3*time.Second, 5*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		growth = max(growth, many/one)
	}
	t.Logf("32 sessions with 5 ms more a signature: %.1f times one", growth)
	if growth < 25 {
		t.Errorf("32 sessions make %.1f times as much as one, want 25", growth)
	}
}

func newBenchToken(b testing.TB) *hsm.Token {
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
