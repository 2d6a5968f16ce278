package pkitest

import (
	"math/rand/v2"
	"os"
	"testing"
)

// Walk says which of the numbered steps of a long walk a test takes: of each so many
// one after the other it is one, and another in the next run, so that many runs take
// them all. With MINTMARK_LONG it is every step. The log says which.
func Walk(t testing.TB, every int) func(step int) bool {
	t.Helper()
	if os.Getenv("MINTMARK_LONG") != "" {
		return func(int) bool { return true }
	}
	first := rand.IntN(every)
	t.Logf("takes each step that divided by %d leaves %d; all with MINTMARK_LONG=1", every, first)
	return func(step int) bool { return step%every == first }
}
