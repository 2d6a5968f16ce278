package dpsreg

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

// Tasks say that something of a device changed, and not what it is now: Deliver reads
// that when it tells it.
const (
	deviceTask = "device/"
	maxDevice  = 256 // bytes of a device's id
)

// subject is the payload of a task.
type subject struct {
	ID string `json:"id"`
}

// TaskKind is the kind of a target's tasks, but for those that cannot wait: of individual
// enrollments, of which thousands may wait for the service's quota.
func TaskKind(t Target) string { return "azure/" + t.Name }

// UrgentKind is the kind of those that may block a device or end a block: revocations,
// holds, releases, and certificates of devices under a group, for which there is nothing
// else to tell. They have a worker of their own, and their calls leave first.
func UrgentKind(t Target) string { return TaskKind(t) + "/urgent" }

// TasksFor returns what the targets must be told of a certificate that was issued or
// revoked: that something of its device changed. It makes no I/O. Only bootstrapped
// certificates of devices under a group, every certificate of a device with an
// individual enrollment, and every revocation concern a target.
//
// A bootstrapped certificate ends the block of a device whose last one was revoked. One
// that the device got by its own certificate changes nothing for a group: it was let in
// before, and is let in by the chain.
func (ds *Devices) TasksFor(targets []Target, c ledger.Certificate) []ledger.Task {
	if c.Purpose != ledger.ForDevice || c.Device == "" {
		return nil
	}
	var authorities []Authority
	if c.State != ledger.Revoked && c.Requester.Bootstrap() && len(targets) > 0 {
		authorities = ds.authorities()
	}
	return tasksAbout(targets, c.Device, func(t Target) (kind string) {
		switch {
		case c.State == ledger.Revoked:
			return UrgentKind(t)
		case t.Enrolled(c):
			return TaskKind(t)
		case t.grouped(authorities, c.Issuer):
			return UrgentKind(t)
		}
		return ""
	})
}

// TasksForDevice returns what they must be told when a device was held, retired or
// released.
func TasksForDevice(targets []Target, device string) []ledger.Task {
	return tasksAbout(targets, device, UrgentKind)
}

// grouped reports whether an issuer stands below an anchor of a group of the target,
// also of one that is to be deleted: until then it lets devices in.
func (t Target) grouped(authorities []Authority, issuer string) bool {
	byName := func(name string) *Authority {
		if i := slices.IndexFunc(authorities, func(a Authority) bool { return a.Name == name && a.Certificate != nil }); i >= 0 {
			return &authorities[i]
		}
		return nil
	}
	below := byName(issuer)
	if below == nil {
		return false
	}
	for _, g := range t.Groups {
		if len(g.Anchors) == 0 && !g.deleted() {
			return true // on a root that a Registrar looks up; too much is told, never too little
		}
		for _, name := range g.Anchors {
			if anchor := byName(name); anchor != nil && (below.stands(anchor.Certificate) || slices.ContainsFunc(below.Under, anchor.Certificate.Equal)) {
				return true
			}
		}
	}
	return false
}

// tasksAbout returns a task for each target for which there is a kind.
func tasksAbout(targets []Target, device string, kind func(Target) string) []ledger.Task {
	payload, err := json.Marshal(subject{device})
	if err != nil || device == "" {
		return nil // no string fails to encode
	}
	var tasks []ledger.Task
	for _, t := range targets {
		if kind := kind(t); kind != "" {
			tasks = append(tasks, ledger.Task{Kind: kind, Key: deviceTask + device, Payload: payload})
		}
	}
	return tasks
}

// DeviceOf returns the device that a task is about; ok is false for a task that is about
// nothing known here.
func DeviceOf(task ledger.Task) (device string, ok bool) {
	device, err := parseTask(task)
	return device, err == nil
}

// parseTask returns the device that a task is about.
func parseTask(task ledger.Task) (string, error) {
	var about subject
	if err := json.Unmarshal(task.Payload, &about); err != nil {
		return "", fmt.Errorf("parsing task: %w", err)
	}
	id, ok := strings.CutPrefix(task.Key, deviceTask)
	switch {
	case !ok:
		return "", fmt.Errorf("parsing task: %.80q is about nothing that is known here", task.Key)
	case about.ID == "" || len(about.ID) > maxDevice:
		return "", errors.New("parsing task: names no device")
	case about.ID != id:
		return "", fmt.Errorf("task %.300q: its payload names another device", task.Key)
	}
	return id, nil
}
