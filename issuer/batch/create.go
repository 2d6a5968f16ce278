package batch

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"mintmark/internal/flock"
)

// Create fixes what a batch is about: the plan, and the devices. The folder must not exist, be
// empty, or hold the same batch, which is then gone on from. Nothing is asked for yet. The caller gives the
// plan without what Create knows: version, ID, time, number and hash of the devices.
func Create(dir string, plan Plan, devices iter.Seq2[Item, error], now time.Time) (Plan, error) {
	plan.Version = planVersion
	if err := plan.check(); err != nil {
		return plan, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return plan, err
	}
	earlier, err := ReadPlan(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return plan, err
	}
	if fresh {
		if err := vacant(dir); err != nil {
			return plan, err
		}
	}
	held, err := lock(dir)
	if err != nil {
		return plan, err
	}
	defer flock.Release(held)
	if plan.Items, plan.Input, err = keep(dir, devices, &plan); err != nil {
		return plan, errors.Join(err, os.Remove(filepath.Join(dir, temporary+inputFile)))
	}
	if !fresh {
		err := os.Remove(filepath.Join(dir, temporary+inputFile))
		if !plan.same(earlier) {
			return plan, errors.Join(fmt.Errorf("%s holds batch %s, which was asked for in other words or with other devices: name another folder, or go on with that one as it is", dir, earlier.ID), err)
		}
		return earlier, err
	}
	if err := settle(filepath.Join(dir, temporary+inputFile), filepath.Join(dir, inputFile)); err != nil {
		return plan, err
	}
	var id [16]byte
	rand.Read(id[:])
	plan.ID, plan.Created = hex.EncodeToString(id[:]), now.UTC().Truncate(time.Second)
	content, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return plan, err
	}
	return plan, replace(filepath.Join(dir, planFile), append(content, '\n'), 0o600)
}

// vacant refuses a folder with what is not left of a Create that was cut off.
func vacant(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, one := range list {
		switch one.Name() {
		case lockFile, inputFile, temporary + inputFile, temporary + planFile:
		default:
			return fmt.Errorf("%s is not empty: it has %s, and no batch", dir, one.Name())
		}
	}
	return nil
}

// maxPlan bounds plan.json, in bytes.
const maxPlan = 1 << 20

// ReadPlan reads the plan of a folder. The error is fs.ErrNotExist if there is no batch.
func ReadPlan(dir string) (Plan, error) {
	var plan Plan
	name := filepath.Join(dir, planFile)
	content, err := readBounded(name, maxPlan)
	if err != nil {
		return plan, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&plan); err != nil {
		return plan, fmt.Errorf("reading %s: %w", name, err)
	}
	id, err := hex.DecodeString(plan.ID)
	switch {
	case plan.Version != planVersion:
		return plan, fmt.Errorf("%s is of version %d, and this program knows %d", name, plan.Version, planVersion)
	case err != nil || len(id) != 16 || hex.EncodeToString(id) != plan.ID:
		return plan, fmt.Errorf("%s names no batch of 32 hexadecimal digits", name)
	case plan.Items < 1 || plan.Items > MaxItems:
		return plan, fmt.Errorf("%s is about %d devices; 1 to %d are allowed", name, plan.Items, MaxItems)
	}
	if err := plan.check(); err != nil {
		return plan, fmt.Errorf("%s: %w", name, err)
	}
	return plan, nil
}
