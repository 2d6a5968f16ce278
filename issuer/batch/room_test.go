package batch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/issuer/batch"
)

// TestRoom: what a manifest is taken to measure at most is what it measures, and not much
// less.
func TestRoom(t *testing.T) {
	f := newFactory(t)
	for _, pack := range []string{batch.Zip, batch.Folder} {
		plan := f.plan()
		plan.Pack = pack
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprintf("SN-%s-%s-%02d", pack, strings.Repeat("x", 40), i))
		}
		dir, b := create(t, plan, batch.Named(names), 10)
		if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != len(names) {
			t.Fatalf("%+v, %v", s, err)
		}
		info, err := os.Stat(filepath.Join(dir, batch.Delivery, batch.ManifestFile))
		if err != nil {
			t.Fatal(err)
		}
		most, err := batch.Room(plan, names)
		if err != nil || info.Size() > most {
			t.Errorf("%s: the manifest has %d bytes, and at most %d were to be expected: %v", pack, info.Size(), most, err)
		}
	}
}

// TestNoRoom: names with which the manifest would be too large are refused before anything
// is made.
func TestNoRoom(t *testing.T) {
	f := newFactory(t)
	dir := filepath.Join(t.TempDir(), "batch")
	long := strings.Repeat("<", 200) // six bytes each in JSON
	asked := 0
	_, err := batch.Create(dir, f.plan(), func(yield func(batch.Item, error) bool) {
		for i := range batch.MaxItems {
			asked++
			if !yield(batch.Item{Name: fmt.Sprint(long, i)}, nil) {
				return
			}
		}
	}, time.Now())
	if err == nil || !strings.Contains(err.Error(), "divide the batch") || asked == batch.MaxItems {
		t.Errorf("%d devices: %v", asked, err)
	}
	// As many as a batch may have, with names as people have them.
	names := make([]string, batch.MaxItems)
	for i := range names {
		names[i] = fmt.Sprintf("urn:example:works:press:SN-%07d", i)
	}
	for _, pack := range []string{batch.Zip, batch.Folder} {
		plan := f.plan()
		plan.Pack = pack
		if size, err := batch.Room(plan, names); err != nil {
			t.Errorf("%s: %d bytes: %v", pack, size, err)
		}
	}
}
