package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mintmark/internal/keystore"
	"mintmark/internal/keystore/token/child"
	"mintmark/internal/pkitest"
)

func TestMain(m *testing.M) {
	child.Main()
	keystore.SpareRounds() // also in what the scripts run, which is this binary again
	testscript.Main(m, map[string]func(){"mintmark": main})
}

func TestScript(t *testing.T) {
	if os.Getenv("MINTMARK_TOOLS") == "required" {
		scriptTools(t)
	}
	testscript.Run(t, testscript.Params{
		Dir:       "testdata/script",
		Condition: scriptCondition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":     start,
			"terminate": terminate,
			"exits":     exits,
			"capture":   capture,
			// walkthrough does what a document says.
			"walkthrough": walkThrough,
			"serial": func(ts *testscript.TestScript, neg bool, args []string) {
				certificates, err := readCertificates(ts.MkAbs(args[1]))
				ts.Check(err)
				ts.Setenv(args[0], describeEnrolled(certificates[0]).Serial)
			},
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("MINTMARK_DIR", filepath.Join(e.WorkDir, "factory"))
			// Where scripts build what they run beside mintmark.
			here, err := os.Getwd()
			if err != nil {
				return err
			}
			e.Setenv("REPO", filepath.Join(here, "..", ".."))
			cache, err := exec.Command("go", "env", "GOCACHE").Output()
			if err == nil { // without go there is nothing to build
				e.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
			}
			e.Values["running"] = make(map[string]*exec.Cmd)
			e.Values["t"] = e.T()
			return nil
		},
	})
}

// scriptTools fails the test for each program that a script does without where it is not
// installed: a script cannot tell that none may be lacking.
func scriptTools(t *testing.T) {
	t.Helper()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	condition := regexp.MustCompile(`\[!?exec:([^\]]+)\]`)
	seen := make(map[string]bool)
	for _, script := range scripts {
		for _, match := range condition.FindAllSubmatch(pkitest.ReadFile(t, script), -1) {
			name := string(match[1])
			if _, err := exec.LookPath(name); err != nil && !seen[name] {
				t.Errorf("%s is not installed, for %s", name, script)
			}
			seen[name] = true
		}
	}
}

// startLimit bounds how long a server may take to listen, and to end.
const startLimit = time.Minute

// start runs mintmark in the background: start NAME WORDS ARGS... It returns
// when the program prints a line that begins with WORDS, and sets for each line
// "x listening on y" the variable NAME_x (blanks as underscores) to y.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: start name words args...")
	}
	name, words := args[0], args[1]
	c := exec.Command("mintmark", args[2:]...)
	c.Dir = ts.MkAbs(".")
	c.Env = append(os.Environ(), "MINTMARK_DIR="+ts.Getenv("MINTMARK_DIR"), "HOME="+ts.Getenv("HOME"), "SOFTHSM2_CONF="+ts.Getenv("SOFTHSM2_CONF"), "GODEBUG="+ts.Getenv("GODEBUG"),
		"AWS_SHARED_CREDENTIALS_FILE="+ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "AWS_EC2_METADATA_DISABLED=true")
	log, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	c.Stderr = log
	out, err := c.StdoutPipe()
	ts.Check(err)
	ts.Check(c.Start())
	log.Close()
	running := ts.Value("running").(map[string]*exec.Cmd)
	running[name] = c
	ts.Defer(func() {
		if running[name] != nil {
			c.Process.Kill()
			c.Wait()
		}
		// What the others said is often why a script fails.
		if t, ok := ts.Value("t").(interface{ Failed() bool }); ok && t.Failed() {
			text := ts.ReadFile(name + ".err")
			ts.Logf("standard error of %s:\n%s", name, text[max(0, len(text)-8000):])
		}
	})
	watchdog := time.AfterFunc(startLimit, func() { c.Process.Kill() })
	defer watchdog.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if what, where, ok := strings.Cut(lines.Text(), " listening on "); ok {
			ts.Setenv(name+"_"+strings.ReplaceAll(what, " ", "_"), where)
		}
		if strings.HasPrefix(lines.Text(), words) {
			return
		}
	}
	ts.Fatalf("%s ended without saying %q:\n%s", name, words, ts.ReadFile(name+".err"))
}

// terminate sends SIGTERM to what start started: it must end with exit code 0.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: terminate name")
	}
	running := ts.Value("running").(map[string]*exec.Cmd)
	c := running[args[0]]
	if c == nil {
		ts.Fatalf("%s does not run", args[0])
	}
	ts.Check(c.Process.Signal(syscall.SIGTERM))
	watchdog := time.AfterFunc(startLimit, func() { c.Process.Kill() })
	defer watchdog.Stop()
	err := c.Wait()
	delete(running, args[0])
	if err != nil {
		ts.Fatalf("%s: %v\n%s", args[0], err, ts.ReadFile(args[0]+".err"))
	}
}

// capture sets a variable to what the group of a regular expression matches in
// the last standard output: capture NAME REGEXP.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture name regexp")
	}
	expression, err := regexp.Compile(args[1])
	ts.Check(err)
	found := expression.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no match for %s in:\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], found[1])
}

// exits runs a command that must end with the exit code: exits CODE COMMAND...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
