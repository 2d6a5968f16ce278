package bench

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is what else ran while something was measured, as /proc says it.
type machine struct {
	cores       []int
	load        float64       // of the minute before
	busy, steal time.Duration // of the cores
	own         time.Duration // of busy: this process and those that it has waited for
	at          time.Time
}

func lookAtMachine(cores []int) (*machine, error) {
	m := &machine{cores: cores, at: time.Now()}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(string(load), &m.load); err != nil {
		return nil, fmt.Errorf("/proc/loadavg: %w", err)
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	if err := m.read(string(stat)); err != nil {
		return nil, fmt.Errorf("/proc/stat: %w", err)
	}
	m.own = processTime(unix.RUSAGE_SELF) + processTime(unix.RUSAGE_CHILDREN)
	return m, nil
}

// read adds up the lines of the cores: user, nice, system, idle, iowait, irq, softirq, steal
// (proc(5)). Interrupts are left out: the kernel does not say whose they were.
func (m *machine) read(stat string) error {
	for line := range strings.Lines(stat) {
		name, rest, _ := strings.Cut(line, " ")
		number, ok := strings.CutPrefix(name, "cpu")
		if core, err := strconv.Atoi(number); !ok || err != nil || !slices.Contains(m.cores, core) {
			continue
		}
		for i, field := range strings.Fields(rest) {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return err
			}
			switch i {
			case 0, 1, 2:
				m.busy += time.Duration(n) * tick
			case 7:
				m.steal += time.Duration(n) * tick
			}
		}
	}
	return nil
}

// describe says what machine it is, and how quiet.
func (m *machine) describe(out io.Writer) {
	fmt.Fprintf(out, "machine: %d of %d processors, %s, %s\n", len(m.cores), runtime.NumCPU(), processor(), runtime.Version())
	if physicalCore(m.cores[0]) == physicalCore(m.cores[1]) {
		fmt.Fprintln(out, "The two are threads of one core: ratios are less than with two cores.")
	}
	if m.load > 0.3 {
		fmt.Fprintf(out, "The machine is not quiet: load %.2f before the start. Ratios by the clock are worth little; by CPU they hold.\n", m.load)
	}
}

// since says what others took of the cores.
func (m *machine) since(out io.Writer) {
	now, err := lookAtMachine(m.cores)
	if err != nil {
		return
	}
	programs, machines := m.others(now)
	fmt.Fprintf(out, "\nother programs had %.0f %% of the processors, and other machines %.1f %%\n", 100*programs, 100*machines)
}

// others are the shares of the cores that other programs and other machines had.
func (m *machine) others(now *machine) (programs, machines float64) {
	span := now.at.Sub(m.at).Seconds() * float64(len(m.cores))
	// The kernel does not count both by the same clock.
	foreign := max(0, now.busy-m.busy-(now.own-m.own))
	return foreign.Seconds() / span, (now.steal - m.steal).Seconds() / span
}

// processor is the name of the processor; "unknown" where /proc does not say it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unknown processor"
}

// sayIfInMemory warns of a directory where a commit costs nothing, because nothing is durable.
func sayIfInMemory(out io.Writer, dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("asking for the file system of %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		fmt.Fprintf(out, "%s is in memory, where no commit is durable: figures are better than on a disk. Temporary directories are made where TMPDIR says.\n", dir)
	}
	return nil
}

// dropCaches makes the kernel forget what it has read of files, so that the next reader
// asks the disk. It reports false where that is not allowed.
func dropCaches() bool {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0) == nil
}
