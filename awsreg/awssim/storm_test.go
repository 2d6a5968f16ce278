package awssim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// stormy makes three rules of ten actions each that feed all three again: thirty to
// the power of five runs for one message, if nothing bounds them.
func stormy(t *testing.T, s *Sim) *world {
	t.Helper()
	c := s.client(first, region)
	var actions []types.Action
	for range 10 {
		actions = append(actions, types.Action{Republish: &types.RepublishAction{RoleArn: aws.String("arn:aws:iam::111122223333:role/x"), Topic: aws.String("a/b")}})
	}
	for i := range 3 {
		_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String(fmt.Sprint("r", i)),
			TopicRulePayload: &types.TopicRulePayload{Sql: aws.String("SELECT * FROM 'a/#'"), Actions: actions}})
		wantCode(t, err, "")
	}
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// ends fails the test if f is not over within a minute.
func ends(t *testing.T, what string, f func()) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		f()
	}()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatalf("%s has no end", what)
	}
}

// TestRuleStorm: what follows from one message is bounded, through the broker and
// through Basic Ingest, and each message has a count of its own.
func TestRuleStorm(t *testing.T) {
	s := startSim(t)
	w := stormy(t, s)
	for name, run := range map[string]func(message){"broker": w.runMatching, "Basic Ingest": w.runBasicIngest} {
		for range 2 {
			count := 0
			m := message{topic: "a/b", payload: []byte("{}"), followers: &count}
			if name != "broker" {
				m.topic = basicIngest + "r0/a/b"
			}
			ends(t, "a storm of rules", func() { run(m) })
			if count != maxFollowers {
				t.Errorf("%s: %d republications, want %d", name, count, maxFollowers)
			}
		}
	}
	ends(t, "a storm of rules", func() { w.publish("a/b", []byte("{}"), 0, 0) })
	bounded := false
	for _, e := range eventsOf(t, s, "rule.failed") {
		bounded = bounded || strings.Contains(e.Message, "what follows from one message")
	}
	if !bounded {
		t.Error("no event says why the storm ended")
	}
}

// TestCloseEndsRules: rules under way do not outlive the simulator.
func TestCloseEndsRules(t *testing.T) {
	s := startSim(t)
	w := stormy(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	count := 0
	w.runMatching(message{topic: "a/b", payload: []byte("{}"), followers: &count})
	if count != 0 {
		t.Errorf("%d republications of a closed simulator", count)
	}
}
