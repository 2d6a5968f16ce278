package hook

import (
	"strings"
	"testing"
)

const scheduledEvent = `{"version":"0","id":"1","detail-type":"Scheduled Event","source":"aws.events","account":"111122223333",` +
	`"time":"2026-01-01T00:00:00Z","region":"eu-central-1","resources":[],"detail":{}}`

func TestScheduledEventRefused(t *testing.T) {
	if _, err := ParseScheduledEvent([]byte(scheduledEvent)); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{
		"", "null", "{}", "[]", `"x"`, "{", scheduledEvent + scheduledEvent,
		strings.Replace(scheduledEvent, "aws.events", "aws.iot", 1),
		strings.Replace(scheduledEvent, "Scheduled Event", "AWS API Call via CloudTrail", 1),
		`{"pad":"` + strings.Repeat("x", maxEvent) + `",` + scheduledEvent[1:],
	} {
		if e, err := ParseScheduledEvent([]byte(data)); err == nil || e != (ScheduledEvent{}) {
			t.Errorf("%s: %+v, %v", cut(data), e, err)
		}
	}
}

func FuzzParseScheduledEvent(f *testing.F) {
	f.Add([]byte(scheduledEvent))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := ParseScheduledEvent(data); (err == nil) != (e.Source == "aws.events" && e.DetailType == "Scheduled Event") {
			t.Errorf("%+v, %v", e, err)
		}
	})
}
