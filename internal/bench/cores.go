package bench

import (
	"fmt"
	"os"
	"path/filepath"
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

// chooseTwo takes the first core and the first that is not the other thread of it, or the next
// one where all are. Two threads of one core slow each other down, and raw, which runs while
// the other one is idle, would be more than the server can have.
func chooseTwo(cores []int, physical func(int) string) []int {
	for _, other := range cores[1:] {
		if physical(other) != physical(cores[0]) {
			return []int{cores[0], other}
		}
	}
	return cores[:2]
}

// physicalCore says which core of which processor a core of the kernel is a thread of. It is its
// own where the kernel does not say.
func physicalCore(core int) string {
	dir := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology", core)
	id, err := os.ReadFile(filepath.Join(dir, "core_id"))
	if err != nil {
		return strconv.Itoa(core)
	}
	processor, err := os.ReadFile(filepath.Join(dir, "physical_package_id"))
	if err != nil {
		return strconv.Itoa(core)
	}
	return string(processor) + string(id)
}

func setOf(cores []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, core := range cores {
		set.Set(core)
	}
	return &set
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
	// One that is not bound yet may start another meanwhile, which is not bound, either: until
	// there is none that was not seen.
	bound := map[int]bool{}
	for more := true; more; {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		more = false
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				return err
			}
			if bound[id] {
				continue
			}
			if err := unix.SchedSetaffinity(id, setOf(cores)); err != nil && err != unix.ESRCH {
				return fmt.Errorf("binding to cores %v: %w", cores, err)
			}
			bound[id], more = true, true
		}
	}
	return nil
}
