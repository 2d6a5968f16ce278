package batch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Status says how far a batch is, by its folder alone. It may be called while a run works on
// it: what that has not written down does not count.
func Status(dir string) (Plan, Summary, error) {
	plan, err := ReadPlan(dir)
	if err != nil {
		return plan, Summary{}, err
	}
	s := Summary{ID: plan.ID, Devices: plan.Items, Unasked: plan.Items}
	f, err := os.Open(filepath.Join(dir, journalFile))
	if errors.Is(err, os.ErrNotExist) {
		return plan, s, nil
	}
	if err != nil {
		return plan, s, err
	}
	defer f.Close()
	// Nothing is cut off here, because a run may be writing.
	j := &journal{f: f}
	if _, err := j.read(); err != nil {
		return plan, s, fmt.Errorf("reading the journal: %w", err)
	}
	now, err := stateOf(j.records, plan.Items)
	if err != nil {
		return plan, s, err
	}
	s.Issued, s.Prior = now.issued()
	s.Refused, s.Unasked, s.Open, s.Parts = len(now.refused), now.unasked(), now.unanswered(), len(now.parts)
	s.Signed = now.manifest != "" && len(now.open()) == 0 && j.records[len(j.records)-1].Manifest != ""
	return plan, s, nil
}

// EachRefused calls fn for those who got no certificate, as the last run has left it.
func EachRefused(dir string, fn func(Refused) error) error {
	f, err := os.Open(filepath.Join(dir, RefusedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for decoder := json.NewDecoder(f); ; {
		var one Refused
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading %s: %w", f.Name(), err)
		}
		if err := fn(one); err != nil {
			return err
		}
	}
}
