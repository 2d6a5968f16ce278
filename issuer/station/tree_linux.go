package station

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// wholeTree lets a program that stays in the group of the station be ended with everything
// that it has started: what is left of a scanner would keep the port, or the camera, from
// the next one.
func wholeTree(c *exec.Cmd) {
	c.Cancel = func() error {
		tree := []int{c.Process.Pid}
		for i := 0; i < len(tree); i++ {
			// Stopped, it starts nothing more meanwhile.
			if err := syscall.Kill(tree[i], syscall.SIGSTOP); err == nil {
				tree = append(tree, childrenOf(tree[i])...)
			}
		}
		var errs []error
		for _, pid := range tree {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
}

// childrenOf reads who was started by a process: proc(5), the fourth field of
// /proc/PID/stat, behind a name that may have anything in it.
func childrenOf(parent int) (list []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && len(fields) > 1 && string(fields[1]) == strconv.Itoa(parent) {
			list = append(list, pid)
		}
	}
	return list
}
