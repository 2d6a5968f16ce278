package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The table has every figure beside what is wanted, and the file all of them in the order of
// the list, by names that do not change.
func TestReport(t *testing.T) {
	figures := []Figure{
		{Name: "est_5m_ratio", Value: 0.93, Unit: "of empty", note: "a note"},
		{Name: keepalive64, Value: 1209.4, Unit: "certificates/s", RatioToRaw: 0.304, CPUms: 0.776, batch: 33.9, p50: 50 * time.Millisecond, p99: time.Second},
		{Name: "raw", Value: 4071, Unit: "certificates/s", RatioToRaw: 1},
	}
	var out bytes.Buffer
	for _, group := range []string{groupEST, groupScale, groupBatch} {
		if err := report(&out, 5_000_000, group, figures); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{groupEST, keepalive64, "1209", "0.30", "at least 0.30 of raw", "0.776", "33.9", "50.0", "1000.0", groupScale, "0.93", "at least 0.85", "a note"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), groupBatch) {
		t.Error("a group without figures is in the tables")
	}
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := write(path, 5_000_000, slices.Clone(figures)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(text, &got); err != nil || len(got) != 3 || got[0]["name"] != "raw" || got[1]["name"] != keepalive64 || got[2]["name"] != "est_5m_ratio" {
		t.Errorf("%v, %v", got, err)
	}
	if got[1]["ratio_to_raw"] != 0.304 || got[1]["unit"] != "certificates/s" || got[1]["value"] != 1209.4 {
		t.Errorf("%v", got[1])
	}
}
