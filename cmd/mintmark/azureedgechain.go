package main

import (
	"fmt"
	"time"

	"mintmark/dpsreg/doctor"
	"mintmark/dpsreg/edge"
)

// judgeEdgeChain refuses a chain that the DPS of the target would refuse, going by its
// bundle, and returns what is doubtful about it. Without the bundle, which is then empty,
// it can only look for the root. An individual enrollment asks for no chain.
func judgeEdgeChain(c edge.Config, target string, bundle []byte, now time.Time) (doubts []string, err error) {
	if c.Identity == edge.ByEST || c.Individual {
		return nil, nil
	}
	if _, err := edge.Files(c); err != nil {
		return nil, err // in words on the file
	}
	chain, err := doctor.ReadChain(c.Chain)
	if err != nil {
		return nil, err
	}
	if len(bundle) == 0 {
		if last := chain[len(chain)-1]; !selfSigned(last) {
			doubts = append(doubts, fmt.Sprintf("the chain ends with %q, which is no root: DPS looks for a CA that it has verified in what the device sends, and adds nothing to it", last.Subject))
		}
		return doubts, nil
	}
	o := doctor.Options{RegistrationID: c.RegistrationID, Now: now}
	if o.Verified, o.Groups, err = doctor.ReadBundle(bundle); err != nil {
		return nil, err
	}
	const individual = "if the device has an individual enrollment, add --individual"
	if len(o.Groups) == 0 {
		return nil, fmt.Errorf("DPS target %q has no enrollment group: %s", target, individual)
	}
	report, err := doctor.Check(chain, o)
	if err != nil {
		return nil, err
	}
	for _, f := range report.Findings {
		switch f.Severity {
		case doctor.SeverityRefused:
			text := f.Text
			if f.Message != "" {
				text = f.Answer() + ": " + text
			}
			return nil, fmt.Errorf("DPS target %q would refuse the chain: %s; %s", target, text, individual)
		case doctor.SeverityUnknown:
			doubts = append(doubts, fmt.Sprintf("of the chain: %s (unknown: %s)", f.Text, f.Unknown))
		}
	}
	return doubts, nil
}
