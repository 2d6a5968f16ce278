package pkitest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// TestAWS: what runs has the directory, the environment and the files of the caller, and
// its exit code is the command's.
func TestAWS(t *testing.T) {
	aws, dir := pkitest.AWS(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte("[profile line]\nregion = eu-west-3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) (stdout, stderr string, code int) {
		cmd := exec.Command(aws, arguments...)
		var out, errs strings.Builder
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_CONFIG_FILE=config", "AWS_PROFILE=line"}
		err := cmd.Run()
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), code
	}
	if out, errs, code := run("configure", "get", "region"); out != "eu-west-3\n" || code != 0 {
		t.Errorf("%q, %q, %d", out, errs, code)
	}
	if out, errs, code := run("iot", "list-things", "--tea"); out != "" || !strings.Contains(errs, "Unknown options: --tea") || code != 252 {
		t.Errorf("%q, %q, %d: wrong usage is 252", out, errs, code)
	}
}
