package interop

import (
	"fmt"
	"os"
	"slices"
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
	if testing.Short() {
		t.Skip("starts a server and five clients")
	}
	s := start(t)
	var cells []cell
	for _, client := range []func(*testing.T, *site) []cell{strongSwan, bouncyCastle, curl, certd, ours} {
		cells = append(cells, client(t, s)...)
	}
	var passed, failed int
	results := make(map[string]map[string]string) // by client and operation, then TLS and authentication
	var rows, columns []string
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
		row, column := c.client+"\t"+c.operation, c.tls+" "+c.auth
		if results[row] == nil {
			results[row] = make(map[string]string)
			rows = append(rows, row)
		}
		results[row][column] = word
		if !slices.Contains(columns, column) {
			columns = append(columns, column)
		}
	}
	slices.Sort(columns)
	printMatrix(rows, columns, results)
	fmt.Printf("\n%d passed, %d failed\n", passed, failed)
}

func printMatrix(rows, columns []string, results map[string]map[string]string) {
	width := 0
	for _, row := range rows {
		_, operation, _ := strings.Cut(row, "\t")
		width = max(width, len(operation))
	}
	line := fmt.Sprintf("%-12s  %-*s", "client", width, "operation")
	for _, c := range columns {
		line += "  " + c
	}
	fmt.Fprintln(os.Stdout, "\n"+line)
	for _, row := range rows {
		client, operation, _ := strings.Cut(row, "\t")
		line := fmt.Sprintf("%-12s  %-*s", client, width, operation)
		for _, c := range columns {
			word := results[row][c]
			if word == "" {
				word = "-"
			}
			line += fmt.Sprintf("  %-*s", len(c), word)
		}
		fmt.Fprintln(os.Stdout, strings.TrimRight(line, " "))
	}
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
