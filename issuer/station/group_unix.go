//go:build unix

package station

import (
	"os/exec"
	"syscall"
)

// ownGroup lets a program be ended with everything that it has started, and keeps a
// Ctrl-C on the terminal from it: the device at hand is finished.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
