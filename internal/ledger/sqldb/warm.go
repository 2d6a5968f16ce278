package sqldb

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// warmStep is how much the kernel is asked for at a time, which it cuts short above its own
	// readahead, and warmAhead how much it may still be reading.
	warmStep  = 128 << 10
	warmAhead = 8 * warmStep
)

// Warm has the operating system read an SQLite database into its page cache, and returns how many bytes:
// none if it would take more than half of the memory that is available. After a reboot each
// enrollment would otherwise wait for a place of the disk that nobody has read yet: the index of keys is
// as random as keys are. The store may be used meanwhile, but not closed, and one call
// be under way; it ends with ctx.
func (s *Store) Warm(ctx context.Context) (int64, error) {
	if s.dialect.shared {
		return 0, nil
	}
	// Never closed before the store's own connections: with any of its descriptors closed, a
	// process loses the locks that SQLite has on the file (fcntl(2)).
	f := s.warmed.Load()
	if f == nil {
		var err error
		if f, err = os.Open(s.cfg.Path); err != nil {
			return 0, fmt.Errorf("reading the database ahead: %w", err)
		}
		s.warmed.Store(f)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("reading the database ahead: %w", err)
	}
	if room, err := available(); err != nil || info.Size() > room/2 {
		return 0, err
	}
	var asked, read int64
	for last := make([]byte, 1); read < info.Size(); {
		for ; asked < min(info.Size(), read+warmAhead); asked += warmStep {
			if err := unix.Fadvise(int(f.Fd()), asked, warmStep, unix.FADV_WILLNEED); err != nil {
				return read, fmt.Errorf("reading the database ahead: %w", err)
			}
		}
		next := min(info.Size(), read+warmStep)
		if _, err := f.ReadAt(last, next-1); err != nil && err != io.EOF { // it waits for the disk
			return read, fmt.Errorf("reading the database ahead: %w", err)
		}
		read = next
		if ctx.Err() != nil {
			return read, ctx.Err()
		}
	}
	return read, nil
}

// available is how much memory there is that nobody would miss, in bytes.
func available() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return memAvailable(f)
}

// memAvailable reads MemAvailable out of proc_meminfo(5).
func memAvailable(r io.Reader) (int64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 53)
			return kib << 10, err
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("/proc/meminfo says nothing of MemAvailable")
}
