package station

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// maxQueue is how many devices may wait. A line that is offline for longer than these
// take has another problem.
const maxQueue = 100_000

// Queue is the devices that the station has begun and not done with: a file for each,
// replaced whole. Its methods may be called concurrently; one process at a time may
// have it open, which OpenQueue sees to.
type Queue struct {
	dir  string
	lock *os.File

	mu      sync.Mutex
	entries map[string]*Entry
	held    map[string]chan struct{} // what is worked at; closed when that is over

	// step is called before each change on disk; for tests of crashes.
	step func(what string) error
}

// OpenQueue opens the queue in a folder, which it makes with mode 0700. It fails if
// another process has it open, and if a file in it cannot be read: a device would be lost.
func OpenQueue(dir string) (*Queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the queue: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	if err := syncFolder(filepath.Dir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("making the queue: %w", err), unlock(lock))
	}
	q := &Queue{dir: dir, lock: lock, held: make(map[string]chan struct{})}
	if q.entries, err = load(dir, true); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// ReadQueue returns what waits in a folder, the oldest first, without opening it: also
// while a station runs on it.
func ReadQueue(dir string) ([]Entry, error) {
	entries, err := load(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return sorted(entries), nil
}

func load(dir string, clean bool) (map[string]*Entry, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries := make(map[string]*Entry)
	for _, name := range names {
		path := filepath.Join(dir, name.Name())
		switch {
		case strings.HasSuffix(name.Name(), ".tmp"):
			// A write that was cut off: what it was to replace is there, or nothing was.
			if clean {
				if err := os.Remove(path); err != nil {
					return nil, err
				}
			}
			continue
		case !strings.HasSuffix(name.Name(), ".json"):
			continue
		}
		data, err := readFile(path, maxEntry)
		if errors.Is(err, fs.ErrNotExist) && !clean {
			continue // done with meanwhile
		}
		var e *Entry
		if err == nil {
			e, err = parseEntry(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s in the queue cannot be used: %w: put it elsewhere, and keep it: it says which certificate a device waits for", path, err)
		}
		if name.Name() != fileOf(e.Device) {
			return nil, fmt.Errorf("%s in the queue is about device %s, and would be named %s", path, e.Device, fileOf(e.Device))
		}
		if len(entries) == maxQueue {
			return nil, fmt.Errorf("more than %d devices wait in %s", maxQueue, dir)
		}
		entries[e.Device] = e
	}
	return entries, nil
}

// fileOf is the file of a device. The sum keeps identifiers apart that a file
// system takes for one.
func fileOf(device string) string {
	sum := sha256.Sum256([]byte(device))
	return strings.ReplaceAll(device, ":", "_") + "-" + hex.EncodeToString(sum[:4]) + ".json"
}

func sorted(entries map[string]*Entry) []Entry {
	list := make([]Entry, 0, len(entries))
	for _, e := range entries {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b Entry) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Device, b.Device)
	})
	return list
}

// Get returns a copy of what is known of a device.
func (q *Queue) Get(device string) (Entry, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[device]
	if !ok {
		return Entry{}, false
	}
	return *e, true
}

// All returns copies of all entries, the oldest first.
func (q *Queue) All() []Entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return sorted(q.entries)
}

// states returns the state of each entry.
func (q *Queue) states() []State {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := make([]State, 0, len(q.entries))
	for _, e := range q.entries {
		list = append(list, e.State)
	}
	return list
}

// hold keeps an entry from others who work at it, until the function is called. If
// somebody does already, it returns what is closed when that is over.
func (q *Queue) hold(device string) (release func(), held <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if other := q.held[device]; other != nil {
		return nil, other
	}
	over := make(chan struct{})
	q.held[device] = over
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.held, device)
		close(over)
	}, nil
}

// Put writes an entry. It is durable when Put returns nil; if Put fails, it holds the
// old one or the new one, whole.
func (q *Queue) Put(e Entry) error {
	e.Version = entryVersion
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the queue: %w", err)
	}
	if err := e.check(); err != nil {
		return fmt.Errorf("writing the queue: device %s: %w", e.Device, err)
	}
	if len(data) > maxEntry {
		return fmt.Errorf("writing the queue: device %s needs more than %d bytes", e.Device, maxEntry)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[e.Device] == nil && len(q.entries) == maxQueue {
		return fmt.Errorf("%d devices wait already: no more are taken", maxQueue)
	}
	if err := q.do("write " + string(e.State)); err != nil {
		return err
	}
	if err := replace(filepath.Join(q.dir, fileOf(e.Device)), append(data, '\n')); err != nil {
		return fmt.Errorf("writing the queue: %w", err)
	}
	q.entries[e.Device] = &e
	return q.do("wrote " + string(e.State))
}

// Remove forgets a device.
func (q *Queue) Remove(device string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[device] == nil {
		return nil
	}
	if err := q.do("remove"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(q.dir, fileOf(device))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(q.entries, device)
	return syncFolder(q.dir)
}

// Close lets others open the queue.
func (q *Queue) Close() error { return unlock(q.lock) }

func (q *Queue) do(what string) error {
	if q.step == nil {
		return nil
	}
	return q.step(what)
}

// replace writes a file whole or not at all, for its owner only.
func replace(name string, content []byte) error {
	temporary := name + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(temporary)
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, err
}
