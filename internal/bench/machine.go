package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is what else ran while something was measured, as /proc says it.
type machine struct {
	load        float64 // of the minute before
	busy, steal time.Duration
	at          time.Time
}

func lookAtMachine() (m machine, err error) {
	m.at = time.Now()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscan(string(text), &m.load); err != nil {
		return m, fmt.Errorf("/proc/loadavg: %w", err)
	}
	f, err := os.Open("/proc/stat")
	if err != nil {
		return m, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return m, err
	}
	// user, nice, system, idle, iowait, irq, softirq, steal: proc(5), in hundredths of a second.
	for i, field := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		switch i {
		case 0, 1, 2, 5, 6:
			m.busy += time.Duration(n) * 10 * time.Millisecond
		case 7:
			m.steal = time.Duration(n) * 10 * time.Millisecond
		}
	}
	return m, nil
}

// describe says what machine it is, and how quiet.
func (m machine) describe(out io.Writer, cores []int) {
	fmt.Fprintf(out, "machine: %d of %d processors, %s, %s\n", len(cores), runtime.NumCPU(), processor(), runtime.Version())
	if m.load > 0.3 {
		fmt.Fprintf(out, "The machine is not quiet: load %.2f before the start. Ratios by the clock are worth little; by CPU they hold.\n", m.load)
	}
}

// since says what others took of the machine.
func (m machine) since(out io.Writer, cores int) {
	now, err := lookAtMachine()
	if err != nil {
		return
	}
	span := now.at.Sub(m.at).Seconds() * float64(cores)
	fmt.Fprintf(out, "\nprocessors busy for %.0f %% of the time, and taken by other machines for %.1f %%\n", 100*(now.busy-m.busy).Seconds()/span, 100*(now.steal-m.steal).Seconds()/span)
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

// dropCaches makes the kernel forget what it has read of files, so that the next reader
// asks the disk. It reports false where that is not allowed.
func dropCaches() bool {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0) == nil
}
