package drill

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// table is devices x states.
type table struct {
	states []string
	cells  map[string]map[string]int // "class\x00state" -> outcome -> devices
	lost   []string                  // who was cut off, when and why
	cut    map[string]bool
}

func newTable() *table {
	return &table{cells: make(map[string]map[string]int), cut: make(map[string]bool)}
}

func (t *table) add(class, state, outcome, device, why string) {
	if !slices.Contains(t.states, state) {
		t.states = append(t.states, state)
	}
	key := class + "\x00" + state
	if t.cells[key] == nil {
		t.cells[key] = make(map[string]int)
	}
	t.cells[key][outcome]++
	if outcome == cutOff {
		t.cut[device] = true
		if len(t.lost) < 50 {
			t.lost = append(t.lost, fmt.Sprintf("%s (%s) in %s: %s", device, class, state, why))
		}
	}
}

// write prints it, states as rows, and closes with how many devices were cut off.
func (t *table) write(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "state")
	for _, c := range classes {
		fmt.Fprint(tw, "\t", c.name)
	}
	fmt.Fprintln(tw)
	for _, state := range t.states {
		fmt.Fprint(tw, state)
		for _, c := range classes {
			cell := t.cells[c.name+"\x00"+state]
			var parts []string
			for _, outcome := range slices.Sorted(maps.Keys(cell)) {
				parts = append(parts, fmt.Sprintf("%d %s", cell[outcome], outcome))
			}
			fmt.Fprint(tw, "\t", strings.Join(parts, ", "))
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	for _, line := range t.lost {
		fmt.Fprintln(w, "cut off:", line)
	}
	fmt.Fprintf(w, "%d cut off\n", len(t.cut))
}

// report prints the table at the end of a test, which fails if somebody was cut off.
func (t *table) report(test *testing.T) {
	var b strings.Builder
	t.write(&b)
	test.Logf("\n%s", b.String())
	if len(t.cut) > 0 {
		test.Errorf("%d cut off", len(t.cut))
	}
}
