package est

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// folder holds the files that a client reads and writes.
type folder struct {
	t    *testing.T
	path string
}

// run runs a program in the folder and fails the test if it fails.
func (d folder) run(name string, args ...string) string {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), name, args...)
	cmd.Dir = d.path
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
