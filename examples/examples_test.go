// Package examples runs the examples as the people do who copy them.
package examples

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// build compiles a command for the examples.
func build(t *testing.T, name, pkg string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", append(append([]string{"build", "-ldflags", "-s -w", "-o", path}, args...), pkg)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return path
}

// lacking skips a test for the lack of a tool, or fails it where none may be.
func lacking(t *testing.T, tool string) {
	t.Helper()
	if os.Getenv("MINTMARK_TOOLS") == "required" {
		t.Fatalf("%s is not installed", tool)
	}
	t.Skipf("%s is not installed", tool)
}

// needNode looks for node and for the packages that scripts/test-tools.sh installs.
func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		lacking(t, "node")
	}
	modules := os.Getenv("MINTMARK_NODE_MODULES")
	if modules == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		modules = filepath.Join(cache, "mintmark", "npm", "node_modules")
	}
	if _, err := os.Stat(filepath.Join(modules, "azure-iot-provisioning-device-http")); err != nil {
		lacking(t, "azure-iot-provisioning-device-http")
	}
}

// TestSystems runs run.sh of every folder: each is one of the ways in which
// devices come to a cloud, from nothing to messages, driven by the vendor's
// command and by clients that we did not write.
func TestSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole systems")
	}
	for _, tool := range []string{"aws", "mosquitto_rr", "openssl", "curl", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(t, tool)
		}
	}
	mintmark := build(t, "mintmark", "../cmd/mintmark")
	bootstrap := build(t, "bootstrap", "../cmd/mintmark-lambda", "-tags", "lambda.norpc")
	// The aws command of pkitest, which does not load its code for every run.
	path := filepath.Dir(pkitest.AWS(t)) + string(filepath.ListSeparator) + os.Getenv("PATH")
	scripts, err := filepath.Glob("*/run.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Dir(script), func(t *testing.T) {
			if filepath.Dir(script) == "s5" {
				needNode(t)
			}
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", script)
			cmd.Env = append(os.Environ(), "PATH="+path, "MINTMARK="+mintmark, "BOOTSTRAP="+bootstrap, "WORK="+filepath.Join(t.TempDir(), "work"))
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it stops what it has started
			cmd.WaitDelay = 10 * time.Second
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
