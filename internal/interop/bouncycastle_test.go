package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// bouncyCastle runs a driver of its EST client once for each version of TLS, in
// one Java machine, and makes a cell of each line that it prints.
func bouncyCastle(t *testing.T, s *site) []cell {
	java, ok := tool(t, "java")
	javac, also := tool(t, "javac")
	if !ok || !also {
		return nil
	}
	jars := []string{"/usr/share/java/bcprov.jar", "/usr/share/java/bcutil.jar", "/usr/share/java/bcpkix.jar", "/usr/share/java/bctls.jar"}
	for _, jar := range jars {
		if _, err := os.Stat(jar); err != nil {
			if os.Getenv("MINTMARK_TOOLS") == "required" {
				t.Fatal(err)
			}
			t.Logf("%v: BouncyCastle's cells are left out", err)
			return nil
		}
	}
	dir := t.TempDir()
	path := strings.Join(append(jars, dir), ":")
	driver, err := filepath.Abs("testdata/Est.java")
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, dir, javac, "-nowarn", "-cp", path, "-d", dir, driver)
	// One Java machine for each version, both at once.
	versions := []string{"1.2", "1.3"}
	printed := make([]string, len(versions))
	var wait sync.WaitGroup
	for i, version := range versions {
		prefix := s.name("bouncy")
		approved := s.approving(t, prefix+"-wait")
		wait.Go(func() {
			cmd := exec.CommandContext(t.Context(), java, "-XX:TieredStopAtLevel=1", "-cp", path, "Est", s.address, s.root, "TLSv"+version, s.user, s.secret, prefix)
			out, err := cmd.Output()
			if printed[i] = string(out); err != nil {
				t.Errorf("the driver for TLS %s: %v", version, err)
			}
			approved()
		})
	}
	wait.Wait()
	var cells []cell
	for i, version := range versions {
		for line := range strings.Lines(printed[i]) {
			field := strings.SplitN(strings.TrimSpace(line), "\t", 3)
			if len(field) != 3 {
				t.Fatalf("the driver printed %q", line)
			}
			cells = append(cells, cell{"BouncyCastle", field[0], "TLS" + version, field[1], func(t *testing.T, _ *site, _ string) {
				if field[2] != "ok" {
					t.Error(field[2])
				}
			}})
		}
	}
	return cells
}
