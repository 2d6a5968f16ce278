package rotation_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"mintmark/ca/rotation"
)

// TestPauseEmergency: one officer may stop an emergency, and that stops it and nothing else: what is
// shut out stays so, who serves goes on to, and nothing is taken back without signatures. Any
// other officer lets it go on.
func TestPauseEmergency(t *testing.T) {
	ctx := context.Background()
	for _, at := range []rotation.State{rotation.Approved, rotation.CloudActiveBoth, rotation.Switched, rotation.Draining} {
		for _, spec := range []rotation.Spec{emergency(rootSpec()), emergency(issuingSpec())} {
			w, id := ready(t, spec, at)
			before := []string{string(w.clouds[0].stage), string(w.clouds[1].stage), string(w.served), fmt.Sprint(w.given)}
			if w.clouds[0].stage == rotation.StageBefore {
				t.Fatalf("%s: the old CA is not shut out", at)
			}
			if _, err := w.machine().Pause(ctx, id, "wait for me", "mallory"); err != nil {
				t.Fatal(err)
			}
			w.restart()
			if _, err := w.machine().Run(ctx, id, "", "alice", nil); err != nil {
				t.Fatal(err)
			}
			if after := []string{string(w.clouds[0].stage), string(w.clouds[1].stage), string(w.served), fmt.Sprint(w.given)}; !slices.Equal(before, after) || w.get(id).State != string(at) {
				t.Errorf("%s, paused: %q, want %q, in %s", at, after, before, w.get(id).State)
			}
			_, err := w.machine().Rollback(ctx, id, "not needed", "mallory", nil)
			rule(t, err, "rotation-unsigned", "0 of 2 officers have signed")
			if _, err := w.machine().Pause(ctx, id, "", "bob"); err != nil {
				t.Fatal(err)
			}
			w.forward(id, at.Next())
		}
	}
}
