package server

// newDriftCollector shows what the last comparisons with AWS found.
func newDriftCollector(t *targets) *foundCollector {
	return newFoundCollector("aws", "certificates",
		"Certificates that the last comparison of a target found different: repaired, adopted, left for a person, and of these unknown to the ledger.",
		t.Targets, []string{"repaired", "adopted", "left", "unknown"}, t.drifts.cached)
}
