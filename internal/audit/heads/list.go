package heads

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// List lists the heads in a directory by server and sequence, and the names of
// other files that end like a head's.
func List(dir string) (listed map[string]map[int64]bool, others []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("listing heads: %w", err)
	}
	listed = map[string]map[int64]bool{}
	for _, entry := range entries {
		server, sequence, ok := parseName(entry.Name())
		switch {
		case ok && listed[server] == nil:
			listed[server] = map[int64]bool{sequence: true}
		case ok:
			listed[server][sequence] = true
		case strings.HasSuffix(entry.Name(), suffix):
			others = append(others, entry.Name())
		}
	}
	return listed, others, nil
}

// Read reads a head of bounded size. It verifies nothing.
func Read(path string) ([]byte, error) { return readHead(path) }

// Newest is the name of the newest head in a directory that holds those of one
// server.
func Newest(dir string) (string, error) {
	listed, _, err := List(dir)
	if err != nil {
		return "", err
	}
	if len(listed) != 1 {
		return "", fmt.Errorf("%s holds heads of %d servers, and not of one", dir, len(listed))
	}
	server := slices.Collect(maps.Keys(listed))[0]
	return FileName(server, slices.Max(slices.Collect(maps.Keys(listed[server])))), nil
}
