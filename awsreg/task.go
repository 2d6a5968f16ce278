package awsreg

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// A task whose key begins with one of these says that something changed, and not
// what it is now: Deliver reads that when it tells it, so that tasks may come
// late, twice and out of order. Every other key is a certificate's id.
const (
	orderTask  = "order/"
	deviceTask = "device/"
	importTask = "import/"
)

// Revokes reports whether a task tells a target of a revocation, and of which certificate.
func Revokes(task ledger.Task) (serial ledger.Serial, ok bool) {
	switch j, err := parseTask(task); {
	case err != nil:
		return "", false
	case j.push != nil && j.push.State == hook.Revoked:
		return ledger.Serial(j.push.Serial), true
	case j.claim != nil && strings.HasSuffix(task.Kind, urgentSuffix): // a new one can wait
		return j.claim.Claim.Serial, true
	}
	return "", false
}

// DeviceOf returns the device that a task is about which says that the device was held,
// retired or released; ok is false for others.
func DeviceOf(task ledger.Task) (device string, ok bool) {
	j, err := parseTask(task)
	if err != nil || !strings.HasPrefix(task.Key, deviceTask) {
		return "", false
	}
	return j.about.ID, true
}

// subject is the payload of such a task.
type subject struct {
	ID string `json:"id"`
}

// TasksForOrder returns what the targets must be told when a work order was
// created or changed. They are for every target: one that had the order's fleet
// may not have it any more, and what it was told still stands there.
func TasksForOrder(targets []Target, order string) []ledger.Task {
	return tasksAbout(targets, orderTask, order, UrgentKind, func(Target) bool { return true })
}

// TasksForDevice returns what the targets must be told when a device was held,
// retired or released.
func TasksForDevice(targets []Target, device string) []ledger.Task {
	return tasksAbout(targets, deviceTask, device, UrgentKind, func(Target) bool { return true })
}

// TasksForImport returns what the targets must be told when a device list came
// into force.
func TasksForImport(targets []Target, id string) []ledger.Task {
	return tasksAbout(targets, importTask, id, TaskKind, func(t Target) bool { return len(t.Fleets) > 0 })
}

func tasksAbout(targets []Target, prefix, id string, kind func(Target) string, concerns func(Target) bool) []ledger.Task {
	payload, err := json.Marshal(subject{id})
	if err != nil {
		return nil // no string fails to encode
	}
	var tasks []ledger.Task
	for _, t := range targets {
		if concerns(t) {
			tasks = append(tasks, ledger.Task{Kind: kind(t), Key: prefix + id, Payload: payload})
		}
	}
	return tasks
}

func parseSubject(payload []byte) (subject, error) {
	var about subject
	if err := json.Unmarshal(payload, &about); err != nil {
		return subject{}, fmt.Errorf("parsing task: %w", err)
	}
	if about.ID == "" || len(about.ID) > 256 {
		return subject{}, errors.New("parsing task: names no subject")
	}
	return about, nil
}
