package bench

import (
	"bytes"
	"os"
	"testing"
	"time"
)

const stat = `cpu  900000 0 0 100 0 0 0 7000
cpu0 100 10 20 4000 50 7 8 9 30 0
cpu1 200 20 40 3000 50 7 8 11 30 0
cpu2 5000 10 20 0 50 7 8 500 30 0
cpu10 6000 10 20 0 50 7 8 500 30 0
intr 12345 1 2 3
`

// What other cores do does not count: the shares are of those that are measured on.
func TestMachine(t *testing.T) {
	before := &machine{cores: []int{0, 1}}
	if err := before.read(stat); err != nil {
		t.Fatal(err)
	}
	if before.busy != 3900*time.Millisecond || before.steal != 200*time.Millisecond {
		t.Errorf("busy %v, steal %v", before.busy, before.steal)
	}
	now := *before
	now.at = before.at.Add(10 * time.Second)
	now.busy, now.own, now.steal = before.busy+15*time.Second, before.own+10*time.Second, before.steal+time.Second
	if programs, machines := before.others(&now); programs != 0.25 || machines != 0.05 {
		t.Errorf("others %v, %v", programs, machines)
	}
	now.own = before.own + 16*time.Second
	if programs, _ := before.others(&now); programs != 0 {
		t.Errorf("others %v", programs)
	}
	if err := (&machine{cores: []int{0}}).read("cpu0 a b\n"); err == nil {
		t.Error("no number was read")
	}
	if _, err := lookAtMachine([]int{0, 1}); err != nil {
		t.Error(err)
	}
}

func TestSayIfInMemory(t *testing.T) {
	var out bytes.Buffer
	if err := sayIfInMemory(&out, "/proc"); err != nil || out.Len() > 0 {
		t.Errorf("/proc: %q, %v", &out, err)
	}
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip(err)
	}
	if err := sayIfInMemory(&out, "/dev/shm"); err != nil || out.Len() == 0 {
		t.Errorf("/dev/shm: %q, %v", &out, err)
	}
}
