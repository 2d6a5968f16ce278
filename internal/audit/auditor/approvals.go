package auditor

import (
	"bytes"
	"slices"

	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// people is who there is and what they have decided.
type people struct {
	principals []ledger.Principal
	keys       map[string][][]byte // all that each has ever had
	approvals  map[string]decided
	late       []lateApproval
}

// decided is what must stay as it is of an approval.
type decided struct {
	statement [32]byte
	state     ledger.ApprovalState
}

type lateApproval struct {
	place
	ledger.Approval
}

func newPeople() people {
	return people{keys: map[string][][]byte{}, approvals: map[string]decided{}}
}

func (p *people) put(record *ledger.Principal) {
	i := slices.IndexFunc(p.principals, func(o ledger.Principal) bool { return o.Name == record.Name })
	if i < 0 {
		p.principals = append(p.principals, *record)
	} else {
		p.principals[i] = *record
	}
	if len(record.Key) > 0 && !slices.ContainsFunc(p.keys[record.Name], func(k []byte) bool { return bytes.Equal(k, record.Key) }) {
		p.keys[record.Name] = append(p.keys[record.Name], record.Key)
	}
}

// follows says from which states an approval comes to one.
var follows = map[ledger.ApprovalState][]ledger.ApprovalState{
	ledger.Pending:  {""},
	ledger.Approved: {ledger.Pending, ledger.Running},
	ledger.Rejected: {ledger.Pending, ledger.Approved},
	ledger.Running:  {ledger.Approved},
	ledger.Done:     {ledger.Running},
}

// approval checks one step of an approval.
func (v *verification) approval(at place, a *ledger.Approval) {
	before := v.people.approvals[a.ID]
	now := decided{hash(access.Statement(*a)), a.State}
	v.people.approvals[a.ID] = now
	// With several logs a step may be read before the one that it follows.
	if len(v.Logs) == 1 && !slices.Contains(follows[a.State], before.state) {
		v.find(at.file, at.line, "approval %s is %s after it was %q", a.ID, a.State, before.state)
	}
	if before.state != "" && before.statement != now.statement {
		v.find(at.file, at.line, "approval %s is not over what was proposed any more", a.ID)
	}
	switch a.State {
	case ledger.Approved, ledger.Running, ledger.Done:
		if _, known := v.people.keys[a.DecidedBy]; !known && len(v.Logs) > 1 && len(v.people.late) < maxWaiting {
			v.people.late = append(v.people.late, lateApproval{at, *a})
			return
		}
		v.signature(at, a, a.State == ledger.Approved && before.state == ledger.Pending)
	}
}

// signature checks who has approved. Who was an officer at that time counts,
// and later on the key that was on record.
func (v *verification) signature(at place, a *ledger.Approval, fresh bool) {
	if a.DecidedBy == a.Proposer {
		v.find(at.file, at.line, "approval %s is by %q, who has proposed it", a.ID, a.Proposer)
		return
	}
	if fresh {
		officer, ok := access.ByName(v.people.principals, a.DecidedBy)
		if !ok || !access.Of(officer).Can(access.ApprovalDecide) {
			v.find(at.file, at.line, "approval %s is by %q, who was no security officer", a.ID, a.DecidedBy)
			return
		}
		if a.DecidedAt.After(a.ExpiresAt) {
			v.find(at.file, at.line, "approval %s was signed after it had expired", a.ID)
		}
	}
	for _, der := range v.people.keys[a.DecidedBy] {
		if key, err := access.ParseKey(der); err == nil && access.Verify(key, access.Statement(*a), a.Signature) == nil {
			v.report.Approvals++
			return
		}
	}
	v.find(at.file, at.line, "approval %s has no signature by a key recorded for %q", a.ID, a.DecidedBy)
}

// settleApprovals judges those whose signer is only known from another log.
func (v *verification) settleApprovals() {
	for _, l := range v.people.late {
		v.signature(l.place, &l.Approval, false)
	}
}
