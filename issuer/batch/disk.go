package batch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mintmark/internal/flock"
)

// What lies in the folder of a batch, beside the delivery.
const (
	planFile    = "plan.json"
	inputFile   = "input.ndjson"
	journalFile = "journal.ndjson"
	lockFile    = "lock"
	keyFile     = ".spool-key"
	spoolFolder = "spool"
	// Delivery is the folder below that of the batch with what the customer gets.
	Delivery = "delivery"
)

// temporary is how files begin that are being written. What is left of them is of a run
// that was cut off.
const temporary = ".tmp-"

// replace writes a file whole or not at all, and durably.
func replace(name string, content []byte, mode os.FileMode) error {
	if err := write(filepath.Join(filepath.Dir(name), temporary+filepath.Base(name)), content, mode); err != nil {
		return err
	}
	return settle(filepath.Join(filepath.Dir(name), temporary+filepath.Base(name)), name)
}

// write writes a file and has it on disk.
func write(name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// settle gives what was written its name, and has that on disk.
func settle(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// syncFolder has the names in a folder on disk.
func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// sweep removes what a run that was cut off has left half written.
func sweep(folder string) error {
	list, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, one := range list {
		if strings.HasPrefix(one.Name(), temporary) {
			if err := os.RemoveAll(filepath.Join(folder, one.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// ErrBusy says that another run works on the same folder.
var ErrBusy = errors.New("another run works on this batch")

// lock takes the folder for this process; the kernel gives it back however that ends.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of the batch: %w", err)
	}
	err = flock.Take(f)
	if errors.Is(err, flock.ErrTaken) {
		err = ErrBusy
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return f, nil
}
