package bench

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a server has used so far.
type usage struct {
	cpu              time.Duration
	records, commits float64 // of the ledger's durable commits
}

func (t *target) usage() (u usage, err error) {
	if u.cpu, err = cpuTime(t.pid); err != nil {
		return u, err
	}
	response, err := http.Get("http://" + t.metrics + "/metrics")
	if err != nil {
		return u, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "mintmark_ledger_commit_records_sum":
			u.records, err = strconv.ParseFloat(value, 64)
		case "mintmark_ledger_commit_records_count":
			u.commits, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return u, fmt.Errorf("metrics: %q: %w", lines.Text(), err)
		}
	}
	return u, lines.Err()
}

// cpuTime is the processor time that a process has used (proc(5), stat fields
// 14 and 15, in hundredths of a second).
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold spaces.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// resident is the resident memory of a process in bytes (proc(5)): now, its own part of that
// (the rest are pages of the binary, which the kernel can take back), and the most there was.
type resident struct{ now, own, most float64 }

func memory(pid int) (m resident, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(data)) {
		for name, to := range map[string]*float64{"VmRSS:": &m.now, "RssAnon:": &m.own, "VmHWM:": &m.most} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscanf(rest, "%f kB", to); err != nil {
					return m, fmt.Errorf("/proc/%d/status: %q: %w", pid, line, err)
				}
				*to *= 1024
			}
		}
	}
	return m, nil
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }
