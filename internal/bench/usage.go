package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

func (t *target) usage(ctx context.Context) (u usage, err error) {
	if u.cpu, _, err = cpuTime(t.Process.Pid); err != nil {
		return u, err
	}
	text, err := fetch(ctx, "http://"+t.metrics+"/metrics")
	if err != nil {
		return u, err
	}
	err = u.readCommits(text)
	return u, err
}

// readCommits reads the metrics of the ledger.
func (u *usage) readCommits(metrics []byte) error {
	found := 0
	for line := range bytes.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		var to *float64
		switch name {
		case "mintmark_ledger_commit_records_sum":
			to = &u.records
		case "mintmark_ledger_commit_records_count":
			to = &u.commits
		default:
			continue
		}
		var err error
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return fmt.Errorf("metrics: %q: %w", line, err)
		}
		found++
	}
	if found != 2 {
		return errors.New("the metrics do not say what the ledger has committed")
	}
	return nil
}

// cpuTime is the processor time that a process has used, and that of its children that have
// ended.
func cpuTime(pid int) (own, ended time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	if own, ended, err = readStat(string(text)); err != nil {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return own, ended, nil
}

// readStat reads fields 14 to 17 of proc(5), which are in hundredths of a second.
func readStat(text string) (own, ended time.Duration, err error) {
	// The name, in parentheses, may hold spaces and parentheses.
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("there are only %d fields after the name", len(fields))
	}
	var ticks [4]time.Duration
	for i, field := range fields[11:15] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, 0, err
		}
		ticks[i] = time.Duration(n) * tick
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3], nil
}

// tick is what /proc counts processor time in.
const tick = 10 * time.Millisecond

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
