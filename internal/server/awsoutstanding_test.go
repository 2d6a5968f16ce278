package server

import (
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// withFleet makes the functions of a target decide.
const withFleet = `      fleets:
        - {template: press, role_arn: "arn:aws:iam::123456789012:role/p", hook: "arn:aws:lambda:eu-central-1:123456789012:function:p"}
`

func enroll(t *testing.T, s *Server, device string) {
	t.Helper()
	if _, err := s.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "told", Requester: ledger.Requester{Kind: "password", Name: "line"},
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: device}),
	}); err != nil {
		t.Fatal(err)
	}
}

// failed waits until a target's only ordinary task was tried in vain.
func failed(t *testing.T, s *Server) ledger.Task {
	t.Helper()
	var task ledger.Task
	eventually(t, "a task fails", func() bool {
		tasks, err := s.ledger.Due(t.Context(), awsreg.TaskKind(s.aws.list[0]), time.Now().Add(time.Hour), 10)
		if err != nil || len(tasks) != 1 || tasks[0].Attempts == 0 {
			return false
		}
		task = tasks[0]
		return true
	})
	return task
}

// TestPoison: a registration that can never succeed does not make the functions
// refuse all other devices, for the head of the manifest goes on.
func TestPoison(t *testing.T) {
	s, things := rehearsalWith(t, "policy: told-device, thing_type: press", withFleet)
	// Somebody's thing has the device's name and another type, which stays.
	if _, err := things.CreateThingType(t.Context(), &iot.CreateThingTypeInput{ThingTypeName: aws.String("other"), ThingTypeProperties: &iottypes.ThingTypeProperties{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := things.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String("poison"), ThingTypeName: aws.String("other")}); err != nil {
		t.Fatal(err)
	}
	enroll(t, s, "poison")
	task := failed(t, s)
	after := time.Now()
	eventually(t, "the head goes on", func() bool {
		s.aws.by["line"].beat.Set()
		status, err := s.aws.Status(t.Context(), "line", false)
		return err == nil && status.Manifest.PushedAt.After(after)
	})
	if left := failed(t, s); left.ID != task.ID {
		t.Errorf("task %d waits, not %d", left.ID, task.ID)
	}
}

// TestHeadWaits: as long as something is not in the manifest, nothing says so.
func TestHeadWaits(t *testing.T) {
	s, _ := rehearsalWith(t, "policy: told-device", withFleet)
	target := s.aws.list[0]
	eventually(t, "the manifest is current", func() bool {
		current, err := s.aws.current(t.Context(), target)
		return err == nil && current
	})
	inject(t, s, `{"operation":"dynamodb:BatchWriteItem","every":1,"code":"AccessDeniedException","status":400}`)
	enroll(t, s, "unwritten")
	failed(t, s)
	if current, err := s.aws.current(t.Context(), target); err != nil || current {
		t.Errorf("current %t, %v", current, err)
	}
}

// TestOutstanding: a task counts as told from its own delivery only.
func TestOutstanding(t *testing.T) {
	s := openLocal(t, newState(t), io.Discard)
	defer s.Close()
	box, left := s.ledger, newOutstanding()
	all := func(want bool) {
		t.Helper()
		backlog, err := box.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := left.all(t.Context(), box, backlog["test/a"]+backlog["test/b"], "test/a", "test/b"); err != nil || got != want {
			t.Fatalf("all are outstanding only: %t, %v; want %t", got, err, want)
		}
	}
	hold := func(kind string) ledger.Task {
		t.Helper()
		if _, err := box.HoldUnknown(t.Context(), kind, ledger.Held, "test", "", time.Now(), ledger.Task{Kind: kind, Key: "device"}); err != nil {
			t.Fatal(err)
		}
		tasks, err := box.Due(t.Context(), kind, time.Now().Add(time.Hour), 10)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("%d tasks, %v", len(tasks), err)
		}
		return tasks[0]
	}
	note := func(task ledger.Task, err error) {
		left.note([]ledger.Task{task}, []error{err})
	}
	told := fmt.Errorf("no: %w", awsreg.ErrTold)
	all(true)
	a, b := hold("test/a"), hold("test/b")
	all(false)
	note(a, told)
	all(false)
	note(b, told)
	all(true)
	note(b, errors.New("the table is away"))
	all(false)
	note(b, told)
	newer := hold("test/a") // in the place of the first
	all(false)
	note(newer, told)
	all(true)
	if known := left.known(); len(known) != 2 {
		t.Errorf("%d tasks are remembered", len(known))
	}
}

func inject(t *testing.T, s *Server, fault string) {
	t.Helper()
	answer, err := http.Post(s.config.AWS.Targets[0].Endpoint+"/_sim/faults", "application/json", strings.NewReader(fault))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode >= 300 {
		t.Fatalf("injecting a fault: %s", answer.Status)
	}
}
