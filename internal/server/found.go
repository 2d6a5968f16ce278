package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mintmark/internal/ledger"
)

// maxFound bounds the file of a comparison that is read.
const maxFound = 64 << 20

// found keeps what the last comparison of each target of a cloud found, in a file
// each, so that commands see it after a restart and without a server. D is what one
// comparison finds. Its methods may be called concurrently.
type found[D any] struct {
	dir   string
	tally func(D) tally

	mu     sync.Mutex
	counts map[string]*tally // of what was read or kept; nil for none
}

// tally is what the metrics show of a comparison: numbers in the order of the
// collector's kinds.
type tally struct {
	at     time.Time
	counts []int
}

// newFound keeps files in the folder of a cloud in the state directory.
func newFound[D any](state, cloud string, of func(D) tally) *found[D] {
	return &found[D]{dir: filepath.Join(state, cloud), tally: of, counts: make(map[string]*tally)}
}

// cached sums up what the last comparison found, from the file only the first time.
func (f *found[D]) cached(target string) (tally, bool) {
	f.mu.Lock()
	counts, ok := f.counts[target]
	f.mu.Unlock()
	if !ok {
		drift, there, err := f.last(target)
		if err != nil || !there {
			return tally{}, false
		}
		f.count(target, drift)
		return f.tally(drift), true
	}
	return *counts, true
}

func (f *found[D]) count(target string, drift D) {
	counts := f.tally(drift)
	f.mu.Lock()
	defer f.mu.Unlock()
	if before := f.counts[target]; before == nil || before.at.Before(counts.at) {
		f.counts[target] = &counts
	}
}

func (f *found[D]) file(target string) string { return filepath.Join(f.dir, target+".drift.json") }

// last is what the last comparison found; ok is false if there was none.
func (f *found[D]) last(target string) (drift D, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.file(target))
	if errors.Is(err, fs.ErrNotExist) {
		return drift, false, nil
	}
	if err == nil && info.Size() > maxFound {
		err = fmt.Errorf("%s: larger than %d bytes", f.file(target), maxFound)
	}
	if err != nil {
		return drift, false, err
	}
	content, err := os.ReadFile(f.file(target))
	if err != nil {
		return drift, false, err
	}
	if err := json.Unmarshal(content, &drift); err != nil {
		var none D
		return none, false, fmt.Errorf("reading %s (remove it, and compare again): %w", f.file(target), err)
	}
	return drift, true, nil
}

// keep replaces what is kept, whole or not at all.
func (f *found[D]) keep(target string, drift D) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	content, err := json.Marshal(drift)
	if err != nil {
		return fmt.Errorf("encoding what was found: %w", err)
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	if err := writeFile(f.file(target), content, 0o600); err != nil {
		return fmt.Errorf("keeping what was found: %w", err)
	}
	return nil
}

// errComparing says that a comparison runs already.
var errComparing = fmt.Errorf("the target is being compared with the ledger already: %w", ledger.ErrBusy)
