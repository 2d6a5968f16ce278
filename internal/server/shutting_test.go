package server

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestManyWaitThatShutNobodyOut: a backlog longer than what is looked at one by one is no
// alarm by itself.
func TestManyWaitThatShutNobodyOut(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "labels:\n", `aws:
  targets:
    - {name: line, account_id: "123456789012", region: eu-central-1, endpoint: "http://127.0.0.1:1"}
labels:
`)
	s := openLocal(t, dir, io.Discard)
	answer, err := s.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", CSR: newDevice(t, "one").csr, Requester: ledger.Requester{Kind: "admin", Name: "test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	orders := func(ledger.Certificate) (tasks []ledger.Task) {
		for i := range shutMost + 100 {
			tasks = append(tasks, ledger.Task{Kind: awsreg.UrgentKind(s.aws.list[0]), Key: fmt.Sprintf("order/WO-%d", i), Payload: []byte("{}")})
		}
		return tasks
	}
	if _, err := s.ledger.Revoke(t.Context(), ledger.Selector{Serial: answer.Serial}, ledger.KeyCompromise, "test", s.ra.Now(), orders); err != nil {
		t.Fatal(err)
	}
	list, err := s.outstanding(t.Context())
	i := slices.IndexFunc(list, func(o admin.Outstanding) bool { return o.Where == "aws/line" })
	if err != nil || i < 0 || list[i].Count != 100 || list[i].Since.IsZero() {
		t.Fatalf("outstanding: %+v, %v", list, err)
	}
	if err := s.tellLate(t.Context()); err != nil || s.shutting.late["aws/line"] {
		t.Errorf("there is an alarm: %v, %v", s.shutting.late, err)
	}
}
