package pkitest

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var (
	//go:embed testdata/awsserver.py
	awsServer string
	//go:embed testdata/aws.py
	awsClient string
)

// AWS returns the path of the aws command, whose last element is "aws". Where that is a
// script of Python's, most of its time goes into loading its code, more than a second
// of processor time: there a process that has loaded it once forks for every run, in the directory,
// with the environment and with the files of the caller, and what is returned talks to
// that process, which ends with this one. Without the command it does as Tool does.
func AWS(t testing.TB) string {
	t.Helper()
	// The shell may have a shim of that name, so the path of Debian's package goes first.
	plain := "/usr/bin/aws"
	if _, err := os.Stat(plain); err != nil {
		plain = Tool(t, "aws")
	}
	awsLoaded.once.Do(func() { awsLoaded.path, awsLoaded.err = loadAWS(plain) })
	if awsLoaded.err != nil {
		t.Logf("the aws command is started anew each time: %v", awsLoaded.err)
		return plain
	}
	return awsLoaded.path
}

var awsLoaded struct {
	once  sync.Once
	path  string
	err   error
	stdin io.Closer // kept open for as long as this process lives
}

// loadAWS starts the process that forks, and returns the path of what talks to it.
func loadAWS(plain string) (path string, err error) {
	f, err := os.Open(plain)
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	python, found := strings.CutPrefix(strings.TrimSpace(line), "#!")
	if !found || !strings.HasPrefix(filepath.Base(python), "python") {
		return "", fmt.Errorf("%s is not a script of Python's", plain)
	}
	dir, err := os.MkdirTemp("", "aws-*")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "aws")
	if err := os.WriteFile(path, []byte("#!"+python+" -SE\n"+awsClient), 0o700); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.Command(python, "-c", awsServer, filepath.Join(dir, "socket"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	if said, err := bufio.NewReader(stdout).ReadString('\n'); said != "ready\n" {
		return "", errors.Join(fmt.Errorf("it did not load: %v", err), cmd.Wait(), os.RemoveAll(dir))
	}
	awsLoaded.stdin = stdin
	return path, nil
}
