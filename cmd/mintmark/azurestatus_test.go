package main

import "testing"

func TestLiveWords(t *testing.T) {
	if got := anchorLives(map[string]int{"root-2": 1, "root-1": 5}, map[string]int{"root-1": 4, "root-2": 0}); got != "root-1: 5 (4 renewed), root-2: 1" {
		t.Errorf("%q", got)
	}
	five, four, none := 5, 4, 0
	for want, of := range map[string][2]*int{"": {}, "5": {&five, nil}, "5 (4 renewed)": {&five, &four}, "0": {&none, &none}} {
		if got := liveWords(of[0], of[1]); got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}
