package server

import (
	"context"

	"mintmark/dpsreg"
)

func azureTally(d dpsreg.Drift) tally {
	return tally{at: d.At, counts: []int{len(d.Repaired), len(d.Promoted), len(d.Left), d.UnknownCount}}
}

// newAzureCollector shows what the last comparisons with Azure found.
func newAzureCollector(t *azureTargets) *foundCollector {
	return newFoundCollector("azure", "devices",
		"Devices that the last comparison of a target found: repaired, promoted to their new certificate, left for a person, and enrollments of others (unknown).",
		t.names, []string{"repaired", "promoted", "left", "unknown"}, t.found.cached)
}

// Drift is what the last comparison of a target found; ok is false if this server
// has made none.
func (t *azureTargets) Drift(name string) (drift dpsreg.Drift, ok bool, err error) {
	if _, err := t.find(name); err != nil {
		return dpsreg.Drift{}, false, err
	}
	return t.found.last(name)
}

// Reconcile compares a target with the ledger and repairs what it may; one
// comparison of a target at a time.
func (t *azureTargets) Reconcile(ctx context.Context, name string) (dpsreg.Drift, error) {
	target, err := t.find(name)
	if err != nil {
		return dpsreg.Drift{}, err
	}
	comparing := &t.by[name].comparing
	if !comparing.TryLock() {
		return dpsreg.Drift{}, errComparing
	}
	defer comparing.Unlock()
	drift, err := t.devices.Reconcile(ctx, target)
	if err != nil {
		return drift, err
	}
	log := t.s.log.With("target", name, "devices", drift.Devices, "repaired", len(drift.Repaired), "promoted", len(drift.Promoted), "left", len(drift.Left), "unknown", drift.UnknownCount)
	if len(drift.Left) > 0 {
		log.Warn("Azure and the ledger differ, and a person must decide: mintmark azure drift shows it")
	} else {
		log.Info("Azure was compared with the ledger")
	}
	t.found.count(name, drift)
	if err := t.found.keep(name, drift); err != nil {
		t.s.log.Error("what the comparison with Azure found is not kept", "target", name, "error", err)
	}
	return drift, nil
}
