package bench

import (
	"testing"
	"time"
)

func TestMean(t *testing.T) {
	if got := mean(reference{1, 10}, reference{2, 20}, reference{6, 60}); got != (reference{3, 30}) {
		t.Errorf("%+v", got)
	}
}

func TestBare(t *testing.T) {
	if r, err := bare(1, 5*time.Millisecond); err != nil || r.rate <= 0 || r.byCPU <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
