package hook

import (
	"encoding/json"
	"fmt"
)

// ScheduledEvent is what EventBridge hands a function on a schedule. What the
// monitor does depends on the clock alone, so that nothing else of it is read.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
type ScheduledEvent struct {
	Source     string `json:"source"`
	DetailType string `json:"detail-type"`
}

// ParseScheduledEvent reads an event and refuses any that is not of a schedule: a
// function that was wired to something else must not run its job at every call.
func ParseScheduledEvent(data []byte) (ScheduledEvent, error) {
	if len(data) > maxEvent {
		return ScheduledEvent{}, fmt.Errorf("scheduled event is %d bytes long, more than %d", len(data), maxEvent)
	}
	var e ScheduledEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return ScheduledEvent{}, fmt.Errorf("parsing scheduled event: %w", err)
	}
	if e.Source != "aws.events" || e.DetailType != "Scheduled Event" {
		return ScheduledEvent{}, fmt.Errorf("this is no event of a schedule: source %q, detail-type %q", cut(e.Source), cut(e.DetailType))
	}
	return e, nil
}
