package pkitest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// TestTool: where tools are required, the lack of one fails a test and does not skip it.
func TestTool(t *testing.T) {
	if os.Getenv("PKITEST_LACKING") != "" {
		pkitest.OpenSSL(t, "version")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ tools, want string }{{"", "--- SKIP: TestTool"}, {"required", "--- FAIL: TestTool"}} {
		cmd := exec.Command(self, "-test.run=^TestTool$", "-test.v")
		cmd.Env = []string{"PATH=" + t.TempDir(), "MINTMARK_TOOLS=" + test.tools, "PKITEST_LACKING=1"}
		out, err := cmd.CombinedOutput()
		if (err != nil) != (test.tools == "required") || !strings.Contains(string(out), test.want) || !strings.Contains(string(out), "openssl is not installed") {
			t.Errorf("MINTMARK_TOOLS=%q: %v\n%s", test.tools, err, out)
		}
	}
}
