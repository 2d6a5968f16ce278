package bench

import (
	"fmt"
	"slices"
	"testing"
)

func TestChooseTwo(t *testing.T) {
	for _, test := range []struct {
		cores, want []int
		threads     int // of each core, next to each other
	}{
		{[]int{0, 1}, []int{0, 1}, 1},
		{[]int{0, 1}, []int{0, 1}, 2},
		{[]int{0, 1, 2, 3}, []int{0, 2}, 2},
		{[]int{5, 6, 7}, []int{5, 6}, 2},
	} {
		got := chooseTwo(test.cores, func(core int) string { return fmt.Sprint(core / test.threads) })
		if !slices.Equal(got, test.want) {
			t.Errorf("of %v with %d threads each: %v, want %v", test.cores, test.threads, got, test.want)
		}
	}
}

func TestBindProcess(t *testing.T) {
	all := cores(t)
	t.Cleanup(func() {
		if err := bindProcess(all...); err != nil {
			t.Error(err)
		}
	})
	if err := bindProcess(all[0]); err != nil {
		t.Fatal(err)
	}
	if got := cores(t); !slices.Equal(got, all[:1]) {
		t.Errorf("bound to %v, want %v", got, all[:1])
	}
	if err := onCores(all, func() error {
		if got := cores(t); !slices.Equal(got, all) {
			t.Errorf("a thread is bound to %v, want %v", got, all)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
