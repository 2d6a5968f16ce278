package awssim

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func TestBuckets(t *testing.T) {
	l := newLimiter(&Quotas{Scale: 2, Operations: map[string]Quota{"Ten": {PerSecond: 5}, "Bursts": {PerSecond: 1, Burst: 3}, "CreatePolicy": {}}})
	now := time.Now()
	take := func(op string, n int) int {
		got := 0
		for range n {
			if l.take("w", op, now) {
				got++
			}
		}
		return got
	}
	if got := take("Ten", 100); got != 10 {
		t.Errorf("%d calls at once, want ten", got)
	}
	now = now.Add(100 * time.Millisecond)
	if got := take("Ten", 100); got != 1 {
		t.Errorf("%d calls after a tenth of a second, want one", got)
	}
	now = now.Add(time.Hour)
	if got := take("Ten", 100); got != 10 {
		t.Errorf("%d calls after a pause, want ten: tokens pile up", got)
	}
	if got := take("Bursts", 100); got != 6 {
		t.Errorf("%d calls at once, want a burst of six", got)
	}
	if got := take("CreatePolicy", 1000); got != 1000 {
		t.Errorf("%d of 1000 calls of an operation whose quota was lifted", got)
	}
	if got := take("ListThings", 1000); got != 1000 {
		t.Errorf("%d of 1000 calls of an operation without a quota", got)
	}
	if !l.take("other", "Bursts", now) {
		t.Error("two worlds share a quota")
	}
	// Over a long time the rate is exact.
	total := 0
	for range 1000 {
		now = now.Add(7 * time.Millisecond)
		total += take("Ten", 3)
	}
	if total < 69 || total > 71 {
		t.Errorf("%d calls in seven seconds at ten a second", total)
	}
}

func TestDefaultQuotas(t *testing.T) {
	names := map[string]bool{"TransferCertificate": true} // in the table, not in the simulator
	for _, op := range iotOperations {
		names[op.name] = true
	}
	for op, q := range DefaultQuotas() {
		if q.PerSecond != 10 && q.PerSecond != 15 {
			t.Errorf("%s has %v calls a second", op, q.PerSecond)
		}
		if !names[op] && op != mqttCreateKeys && op != mqttCreateFromCSR && op != mqttRegisterThing {
			t.Errorf("%s has a quota, and no operation has that name", op)
		}
	}
}

func TestThrottling(t *testing.T) {
	s := startSim(t, func(c *Config) {
		c.Quotas = &Quotas{Operations: map[string]Quota{"CreateThing": {PerSecond: 1e-6, Burst: 3}}}
	})
	create := func(a Account, n int) error {
		name := fmt.Sprint("thing", n)
		_, err := s.client(a, region).CreateThing(ctx, &iot.CreateThingInput{ThingName: &name})
		return err
	}
	for n := range 3 {
		wantCode(t, create(first, n), "")
	}
	wantCode(t, create(first, 3), "ThrottlingException")
	wantCode(t, create(second, 3), "")
	name := "thing3"
	_, err := s.client(first, region).DescribeThing(ctx, &iot.DescribeThingInput{ThingName: &name})
	wantCode(t, err, "ResourceNotFoundException") // a throttled call has no effect
	// What is not in the table is not limited.
	for range 50 {
		_, err := s.sts(first.AccessKeyID, first.SecretAccessKey, "").GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		wantCode(t, err, "")
	}
	if n := len(s.Calls()); n != 3+1+1+1+50 {
		t.Errorf("%d calls", n)
	}
}

func TestQuotaMistakes(t *testing.T) {
	for _, q := range []Quotas{
		{Scale: -1}, {Scale: 1e9}, {Operations: map[string]Quota{"X": {PerSecond: -1}}}, {Operations: map[string]Quota{"X": {PerSecond: 1, Burst: -1}}},
	} {
		if _, err := (Config{Accounts: []Account{first}, Quotas: &q}).withDefaults(); err == nil {
			t.Errorf("%+v is accepted", q)
		}
	}
}

func TestBucketsTogether(t *testing.T) {
	l := newLimiter(&Quotas{Operations: map[string]Quota{"X": {PerSecond: 1e-6, Burst: 100}}})
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := 0
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if l.take("w", "X", time.Now()) {
					mu.Lock()
					got++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if got != 100 {
		t.Errorf("%d calls went through a bucket of 100", got)
	}
}

func TestThrottlingOverMQTT(t *testing.T) {
	s := startSim(t, func(c *Config) {
		c.Quotas = &Quotas{Operations: map[string]Quota{mqttCreateFromCSR: {PerSecond: 1e-6, Burst: 1}}}
	})
	c := makeFleet(t, s, fleetTemplateBody, false)
	a := dialClaim(t, s, makeClaim(t, c, "batch-1", "claim"), "station")
	request := obj{"certificateSigningRequest": requestFor(t, newKey(t), "d")}
	a.mustAsk(fromCSR, request)
	a.refused(fromCSR, request, 429, "Throttling")
}
