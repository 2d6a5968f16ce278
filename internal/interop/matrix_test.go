package interop

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
)

// cell is one thing that one client does in one way.
type cell struct {
	client, operation, tls, auth string
	run                          func(t *testing.T, s *site, dir string)
}

func (c cell) String() string {
	return strings.Join([]string{c.client, c.operation, c.tls, c.auth}, "/")
}

// TestMatrix runs every client through every operation that it knows. One that
// is not installed fails the test where MINTMARK_TOOLS is "required", and is
// skipped otherwise.
func TestMatrix(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server and five clients")
	}
	s := start(t)
	var cells []cell
	for _, client := range []func(*testing.T, *site) []cell{strongSwan, bouncyCastle, curl, certd, ours} {
		cells = append(cells, client(t, s)...)
	}
	var passed, failed int
	rows := []string{}
	results := make(map[string]map[string]string) // by row, then TLS
	for _, c := range cells {
		ran := false // -run may leave it out
		good := t.Run(c.String(), func(t *testing.T) { ran = true; c.run(t, s, t.TempDir()) })
		if !ran {
			continue
		}
		word := "pass"
		if passed++; !good {
			word = "FAIL"
			passed--
			failed++
		}
		row := fmt.Sprintf("%-14s  %-33s  %-11s", c.client, c.operation, c.auth)
		if results[row] == nil {
			results[row] = make(map[string]string)
			rows = append(rows, row)
		}
		results[row][c.tls] = word
	}
	fmt.Printf("\n%-14s  %-33s  %-11s  TLS1.2  TLS1.3\n", "client", "operation", "by")
	for _, row := range rows {
		fmt.Printf("%s  %-6s  %s\n", row, cmp.Or(results[row]["TLS1.2"], "-"), cmp.Or(results[row]["TLS1.3"], "-"))
	}
	fmt.Printf("\n%d passed, %d failed\n", passed, failed)
}

// tool finds a program, or says what becomes of the test without it.
func tool(t *testing.T, name string) (string, bool) {
	t.Helper()
	path := find(name)
	if path == "" && os.Getenv("MINTMARK_TOOLS") == "required" {
		t.Fatalf("%s is not installed", name)
	}
	if path == "" {
		t.Logf("%s is not installed: its cells are left out", name)
	}
	return path, path != ""
}
