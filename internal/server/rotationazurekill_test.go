package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
)

// knell ends a process when the simulator logs that one of its calls was cut off.
type knell struct {
	slog.Handler
	kill atomic.Pointer[context.CancelFunc]
}

func (k *knell) Enabled(context.Context, slog.Level) bool { return true }

func (k *knell) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if kill := k.kill.Load(); kill != nil && a.Key == "result" && strings.HasPrefix(a.Value.String(), "injected ") {
			(*kill)()
		}
		return true
	})
	return nil
}

// TestAdvanceKilledAnywhereAtDPS cuts a step of a rotation off at each of its calls to DPS, before
// and after their effect, and goes on in a new process: it ends where it does undisturbed. With
// MINTMARK_LONG every step.
func TestAdvanceKilledAnywhereAtDPS(t *testing.T) {
	t.Parallel()
	end := &knell{Handler: slog.DiscardHandler}
	sim, err := dpssim.Start(t.Context(), dpssim.Config{Service: "plant-dps", Hubs: []string{plantHub}, Assigning: -1, StateDir: filepath.Join(t.TempDir(), "sim"), Logger: slog.New(end)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	p := &plant{sim: sim}
	dir := newState(t)
	p.configure(t, dir, sim.Addr(), "")
	p.local = &local{Server: openLocal(t, dir, nil), dir: dir}
	t.Cleanup(func() { p.Close() })
	p.apply(t)
	x := newTurner(t, p.Server)
	kill := func(r ledger.Rotation, stage rotation.Stage) (kills int) {
		t.Helper()
		for ; ; kills++ {
			ctx, cancel := context.WithCancel(t.Context())
			end.kill.Store(&cancel)
			sim.ClearFaults()
			sim.Inject(dpssim.Fault{Skip: kills, Times: 1, AfterEffect: kills%2 == 0})
			connections, err := dpsreg.NewConnections(dpsreg.Connecting{Secret: func(path string) ([]byte, error) { return keystore.SecretFile(path, maxCloudSecret) }, Now: p.ra.Now})
			if err != nil {
				t.Fatal(err)
			}
			registrar, err := dpsreg.New(connections, dpsreg.Config{
				Authorities: p.azure.authorities, LabelIssuer: p.azure.labelIssuers(), Strangers: p.azure.strangers, Verification: p.ra.Verification, Carried: p.ra.CarriedVerification, Records: p.ledger,
			})
			if err != nil {
				t.Fatal(err)
			}
			dying := azureCloud{&azureTargets{s: p.Server, list: p.azure.list, registrar: registrar, devices: p.azure.devices, by: p.azure.by, found: p.azure.found}, "plant"}
			_, err = dying.Advance(ctx, r, stage)
			cancel()
			if err == nil {
				sim.ClearFaults()
				end.kill.Store(nil)
				return kills
			}
			if kills > 300 {
				t.Fatalf("%s: it never ends: %v", stage, err)
			}
		}
	}
	r := x.plan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"})
	stages := killedAt(rotation.CloudActiveBoth)
	for _, state := range rotation.States[1:13] {
		if stage, ok := stages[state]; ok {
			if n := kill(r, stage); n < 4 {
				t.Errorf("%s: it was killed %d times only", stage, n)
			}
			if plan, err := (azureCloud{p.azure, "plant"}).Plan(t.Context(), r, stage); err != nil || !plan.Empty() {
				t.Errorf("%s: %v, %v", stage, differing(plan), err)
			}
			delete(stages, state)
		}
		r = x.enter(t, r.ID, state)
		if len(stages) == 0 {
			break
		}
	}
}
