package awssim

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/smithy-go"
)

func TestFaults(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	s.Inject(Fault{Operation: "CreateThing", Nth: 2, Code: "ThrottlingException", Status: 429})
	s.Inject(Fault{Operation: "CreateThing", Nth: 3, AfterEffect: true})
	s.Inject(Fault{Operation: "CreateThing", Nth: 4, Code: "InternalFailureException", Status: 500, AfterEffect: true})
	create := func(name string) error {
		_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name})
		return err
	}
	exists := func(name string) bool {
		_, err := c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &name})
		return err == nil
	}
	wantCode(t, create("a"), "")
	wantCode(t, create("b"), "ThrottlingException")
	if exists("b") {
		t.Error("a throttled call had an effect")
	}
	err := create("c")
	if _, ok := err.(smithy.APIError); err == nil || ok {
		t.Errorf("want a cut connection, got %v", err)
	}
	if !exists("c") {
		t.Error("a call whose answer was lost had no effect")
	}
	wantCode(t, create("d"), "InternalFailureException")
	if !exists("d") {
		t.Error("a call whose answer was lost had no effect")
	}
	wantCode(t, create("e"), "")
	want := "[CreateThing CreateThing DescribeThing CreateThing DescribeThing CreateThing DescribeThing CreateThing]"
	if got := fmt.Sprint(s.Calls()); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
	// Accepted, and not done.
	s.Inject(Fault{Operation: "DeleteThing", NoEffect: true})
	gone := "a"
	for _, want := range []bool{true, false} {
		if _, err := c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &gone}); err != nil || exists(gone) != want {
			t.Errorf("deleted: %v, it is there: %t", err, exists(gone))
		}
	}
	// Two faults on one call: the second waits for the next call.
	s.Inject(Fault{Operation: "ListThings", Code: "ThrottlingException"})
	s.Inject(Fault{Operation: "ListThings", Code: "ServiceUnavailableException", Status: 503})
	for _, code := range []string{"ThrottlingException", "ServiceUnavailableException", ""} {
		_, err := c.ListThings(ctx, &iot.ListThingsInput{})
		wantCode(t, err, code)
	}
}

func TestConfigRefusals(t *testing.T) {
	good := []Account{first}
	for name, cfg := range map[string]Config{
		"no account":         {},
		"short account":      {Accounts: []Account{{ID: "1", AccessKeyID: "a", SecretAccessKey: "b"}}},
		"no secret":          {Accounts: []Account{{ID: first.ID, AccessKeyID: "a"}}},
		"account twice":      {Accounts: []Account{first, first}},
		"region":             {Accounts: good, Region: "Frankfurt"},
		"control not local":  {Accounts: good, Control: "0.0.0.0:0"},
		"broker not local":   {Accounts: good, Broker: ":0"},
		"address":            {Accounts: good, Broker: "localhost"},
		"function not there": {Accounts: good, Functions: map[string]Function{"f": {Path: "/nowhere"}}},
		"function name":      {Accounts: good, Functions: map[string]Function{"f g": {Path: os.Args[0]}}},
		"state directory":    {Accounts: good, StateDir: "/nowhere"},
	} {
		if s, err := Start(context.Background(), cfg); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCancelCloses(t *testing.T) {
	c, cancel := context.WithCancel(context.Background())
	s, err := Start(c, Config{Accounts: []Account{first}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Close(); err != nil { // waits for what cancel began
		t.Error(err)
	}
	if _, err := s.client(first, region).ListThings(ctx, &iot.ListThingsInput{}); err == nil {
		t.Error("a closed simulator answered")
	}
}

func TestEndpoint(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	out, err := c.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil || *out.EndpointAddress != s.BrokerAddr() {
		t.Errorf("endpoint: %+v %v", out, err)
	}
	for kind, code := range map[string]string{
		"iot:Data": "InvalidRequestException", "iot:Jobs": "InvalidRequestException",
		"iot:CredentialProvider": "SimulatorNotImplemented", "other": "InvalidRequestException",
	} {
		_, err := c.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: &kind})
		wantCode(t, err, code)
	}
	_, err = c.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{})
	wantCode(t, err, "InvalidRequestException")
	if name := endpointName(first.ID, region); !strings.HasSuffix(name, "-ats.iot.eu-central-1.amazonaws.com") {
		t.Errorf("endpoint name %s", name)
	}
}

func TestEventRing(t *testing.T) {
	s := startSim(t)
	for range maxEvents + 10 {
		s.events.add(event{Kind: "test"})
	}
	e := eventsOf(t, s, "test")
	if len(e) != maxEvents || e[0].Seq != 11 || e[maxEvents-1].Seq != maxEvents+10 {
		t.Errorf("%d events, from %d", len(e), e[0].Seq)
	}
}
