package bench

import (
	"os"
	"testing"
	"time"
)

func TestReadCommits(t *testing.T) {
	var u usage
	if err := u.readCommits([]byte("# HELP x y\nmintmark_ledger_commit_records_bucket{le=\"1\"} 3\nmintmark_ledger_commit_records_sum 1.2e+06\nmintmark_ledger_commit_records_count 5\n")); err != nil || u.records != 1.2e6 || u.commits != 5 {
		t.Errorf("%+v, %v", u, err)
	}
	for _, text := range []string{"", "mintmark_ledger_commit_records_sum 1\n", "mintmark_ledger_commit_records_sum x\nmintmark_ledger_commit_records_count 5\n"} {
		if err := new(usage).readCommits([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestReadStat(t *testing.T) {
	own, ended, err := readStat("42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 1 0\n")
	if err != nil || own != 1200*time.Millisecond || ended != 34*time.Second {
		t.Errorf("%v, %v, %v", own, ended, err)
	}
	for _, text := range []string{"", "42 (a) S 1 42", "42 (a) S 1 42 42 0 -1 4194560 1 2 3 4 100 x 3000 400 20"} {
		if _, _, err := readStat(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if _, _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	m, err := memory(os.Getpid())
	if err != nil || m.own <= 0 || m.now < m.own || m.most < m.now {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestChildrenOf(t *testing.T) {
	children, err := childrenOf(os.Getppid())
	if err != nil {
		t.Skip(err) // another user's
	}
	for _, pid := range children {
		if pid == os.Getpid() {
			return
		}
	}
	t.Errorf("%v lacks %d", children, os.Getpid())
}
