package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	filePrefix = "issuance-"
	fileSuffix = ".ndjson"
)

// fileName names a file after its first batch, so that names sort in the order
// of the chain and a gap shows.
func fileName(batch int64) string {
	return fmt.Sprintf("%s%016d%s", filePrefix, batch, fileSuffix)
}

// listFiles returns the log's files in the order of the chain. Where there is both a plain
// file and a packed one, as after a crash, the plain one counts.
func listFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing issuance log: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filePrefix) && strings.HasSuffix(plainName(e.Name()), fileSuffix) {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names) // a packed name sorts just behind its plain one
	return slices.CompactFunc(names, func(a, b string) bool { return plainName(a) == plainName(b) }), nil
}

// syncDir makes the creation of a file in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening directory to sync it: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	return nil
}

// fdatasync makes the file's content and size durable.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("syncing %s: %w", f.Name(), err)
		}
		return nil
	}
}
