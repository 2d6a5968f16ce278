package dpsreg_test

import (
	"context"
	"os"
	"testing"

	"mintmark/dpsreg"
)

// TestNew: what is not there is missed before anything is asked of Azure.
func TestNew(t *testing.T) {
	w := newWorld(t)
	if _, err := dpsreg.NewConnections(dpsreg.Connecting{}); err == nil {
		t.Error("connections without a way to read secrets")
	}
	c, err := dpsreg.NewConnections(dpsreg.Connecting{Secret: os.ReadFile})
	w.ok(err)
	none := func(context.Context, string, string) ([]byte, error) { return nil, nil }
	whole := dpsreg.Config{Authorities: w.ours, Verification: none, Carried: none, Records: w.ledger()}
	if _, err := dpsreg.New(c, whole); err != nil {
		t.Error(err)
	}
	for name, lack := range map[string]func(*dpsreg.Config){
		"authorities":          func(c *dpsreg.Config) { c.Authorities = nil },
		"proofs of possession": func(c *dpsreg.Config) { c.Verification = nil },
		"proofs to be carried": func(c *dpsreg.Config) { c.Carried = nil },
		"records":              func(c *dpsreg.Config) { c.Records = nil },
	} {
		cfg := whole
		lack(&cfg)
		if _, err := dpsreg.New(c, cfg); err == nil {
			t.Errorf("a registrar without %s", name)
		}
	}
	if _, err := dpsreg.NewDevices(c, w.ours, nil); err == nil {
		t.Error("devices without records")
	}
	if _, err := dpsreg.NewDevices(c, nil, w.ledger()); err == nil {
		t.Error("devices without authorities")
	}
}
