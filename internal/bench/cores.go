package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// allowedCores lists the cores that this process may run on.
func allowedCores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("reading the processor affinity: %w", err)
	}
	var cores []int
	for i := range 1024 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}

func setOf(cores []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, core := range cores {
		set.Set(core)
	}
	return &set
}

// startOn starts a process bound to cores: it inherits the binding of the
// thread that starts it.
func startOn(cmd *exec.Cmd, cores ...int) error {
	return onCores(cores, cmd.Start)
}

// onCores runs f on a thread bound to cores.
func onCores(cores []int, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, binding and all.
		runtime.LockOSThread()
		if err := unix.SchedSetaffinity(0, setOf(cores)); err != nil {
			done <- fmt.Errorf("binding to cores %v: %w", cores, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// bindProcess binds all threads of this process to cores, and makes it use as many at a
// time.
func bindProcess(cores ...int) error {
	runtime.GOMAXPROCS(len(cores))
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, setOf(cores)); err != nil && err != unix.ESRCH {
			return fmt.Errorf("binding to cores %v: %w", cores, err)
		}
	}
	return nil
}
