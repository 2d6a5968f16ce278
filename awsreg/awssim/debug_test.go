package awssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"
)

// debugCall talks to the endpoints of the simulator as curl does.
func debugCall(t *testing.T, s *Sim, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.ControlURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, readAll(t, resp.Body)
}

func TestFaultsOverHTTP(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	list := func() error {
		_, err := c.ListThings(ctx, &iot.ListThingsInput{})
		return err
	}
	status, body := debugCall(t, s, "POST", "/_sim/faults", `{"operation":"List*","every":2,"times":2,"code":"ServiceUnavailableException","status":503}`)
	if status != 200 || !strings.Contains(body, `"id": 1`) {
		t.Fatalf("arming: %d %s", status, body)
	}
	// The first, the third, and then no more.
	for _, code := range []string{"ServiceUnavailableException", "", "ServiceUnavailableException", "", "", ""} {
		wantCode(t, list(), code)
	}
	if status, body := debugCall(t, s, "GET", "/_sim/faults", ""); status != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("a fault that is over is listed: %d %s", status, body)
	}
	for _, body := range []string{`{"operation":"dynamodb:*","cut":true}`, `{"code":"InternalFailureException","status":500,"rate":1}`, `{"operation":"Never","latency":"1s"}`} {
		if status, text := debugCall(t, s, "POST", "/_sim/faults", body); status != 200 {
			t.Fatalf("%s: %d %s", body, status, text)
		}
	}
	wantCode(t, list(), "InternalFailureException")
	_, err := s.tables(first).ListTables(ctx, &dynamodb.ListTablesInput{})
	var api smithy.APIError
	if err == nil || errors.As(err, &api) {
		t.Errorf("want a cut connection, got %v", err)
	}
	var armed []faultForm
	if _, body := debugCall(t, s, "GET", "/_sim/faults", ""); json.Unmarshal([]byte(body), &armed) != nil || len(armed) != 2 || armed[0].Fired != 1 {
		t.Errorf("armed: %s", body)
	}
	if status, _ := debugCall(t, s, "DELETE", "/_sim/faults?id=3", ""); status != 204 {
		t.Errorf("disarming: %d", status)
	}
	wantCode(t, list(), "")
	for _, id := range []string{"3", "x", "-1"} {
		if status, _ := debugCall(t, s, "DELETE", "/_sim/faults?id="+id, ""); status != 404 {
			t.Errorf("disarming %s: %d", id, status)
		}
	}
	if status, _ := debugCall(t, s, "DELETE", "/_sim/faults", ""); status != 204 {
		t.Errorf("disarming all: %d", status)
	}
	if _, body := debugCall(t, s, "GET", "/_sim/faults", ""); strings.TrimSpace(body) != "[]" {
		t.Errorf("left: %s", body)
	}
	for _, body := range []string{
		`{`, `[]`, `{"rate":1.5}`, `{"rate":-1}`, `{"nth":-1}`, `{"every":2,"rate":0.5}`, `{"latency":"soon"}`, `{"latency":"2h"}`, `{"status":200,"code":"x"}`,
		`{"status":500}`, `{"cut":true,"code":"x"}`, `{"latency":"1s","afterEffect":true}`, `{"noEffect":true,"afterEffect":true}`, `{"noEffect":true,"code":"x"}`, `{"noEffect":true,"cut":true}`, `{"id":1}`, `{"fired":1}`, `{"nonsense":1}`, `{} {}`,
	} {
		if status, _ := debugCall(t, s, "POST", "/_sim/faults", body); status != 400 {
			t.Errorf("%s: status %d", body, status)
		}
	}
	if status, _ := debugCall(t, s, "POST", "/_sim/faults", `{"code":"`+strings.Repeat("x", maxFaultBody)+`"}`); status != 413 {
		t.Errorf("a large fault: status %d", status)
	}
	if status, _ := debugCall(t, s, "PUT", "/_sim/faults", "{}"); status != 405 {
		t.Errorf("PUT: status %d", status)
	}
}

func TestFaultBound(t *testing.T) {
	f := &faults{}
	for range maxFaults {
		if _, err := f.arm(Fault{Operation: "Never"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.arm(Fault{}); err == nil {
		t.Error("one fault too many")
	}
}

// TestFaultRate draws the same faults for the same seed, about as many as the rate
// says.
func TestFaultRate(t *testing.T) {
	run := func(seed uint64) string {
		f := &faults{}
		if _, err := f.arm(Fault{Rate: 0.2, Seed: seed, Code: "x"}); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for range 10000 {
			if f.meet("Any") != nil {
				b.WriteByte('x')
			} else {
				b.WriteByte('.')
			}
		}
		return b.String()
	}
	one := run(1)
	if n := strings.Count(one, "x"); n < 1800 || n > 2200 {
		t.Errorf("%d faults of 10000 at a rate of 0.2", n)
	}
	if one != run(1) {
		t.Error("the same seed draws other faults")
	}
	if one == run(2) {
		t.Error("another seed draws the same faults")
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{listeners: map[string]*pipeListener{}}
		s, err := Start(ctx, Config{Accounts: []Account{first}, Region: region, Listen: m.listen, Control: "127.0.0.1:1", Broker: "127.0.0.1:2"})
		if err != nil {
			t.Fatal(err)
		}
		// On a connection that it uses again, net/http repeats a GET that was cut.
		transport := &http.Transport{DialContext: m.dial, DisableKeepAlives: true}
		c := s.client(first, region)
		call := func() (time.Duration, error) {
			start := time.Now()
			_, err := c.ListThings(ctx, &iot.ListThingsInput{}, func(o *iot.Options) { o.HTTPClient = &http.Client{Transport: transport} })
			return time.Since(start), err
		}
		s.Inject(Fault{Operation: "ListThings", Latency: 3 * time.Second})
		if took, err := call(); err != nil || took != 3*time.Second {
			t.Errorf("a slow call took %s: %v", took, err)
		}
		s.Inject(Fault{Latency: 2 * time.Second, Code: "InternalFailureException", Status: 500})
		if took, err := call(); err == nil || took != 2*time.Second {
			t.Errorf("a slow failure took %s: %v", took, err)
		}
		s.Inject(Fault{Latency: time.Second, Cut: true})
		if took, err := call(); err == nil || took != time.Second {
			t.Errorf("a slow cut took %s: %v", took, err)
		}
		if took, err := call(); err != nil || took != 0 {
			t.Errorf("a call took %s: %v", took, err)
		}
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyThisMachine(t *testing.T) {
	s := startSim(t)
	h := s.controlHandler()
	for name, tt := range map[string]struct {
		method, path, remote, host, kind string
		want                             int
	}{
		"here":                       {"GET", "/_sim/state?account=" + first.ID, "127.0.0.1:9", "127.0.0.1:4566", "", 200},
		"here by name":               {"GET", "/_sim/faults", "127.0.0.1:9", "localhost:4566", "", 200},
		"here on IPv6":               {"GET", "/_sim/faults", "[::1]:9", "[::1]:4566", "", 200},
		"from elsewhere":             {"GET", "/_sim/state?account=" + first.ID, "192.0.2.7:9", "127.0.0.1:4566", "", 403},
		"faults elsewhere":           {"POST", "/_sim/faults", "192.0.2.7:9", "127.0.0.1:4566", "application/json", 403},
		"a page's name":              {"POST", "/_sim/faults", "127.0.0.1:9", "evil.example:4566", "application/json", 403},
		"events elsewhere":           {"GET", "/_sim/events", "192.0.2.7:9", "127.0.0.1:4566", "", 403},
		"events by a page's name":    {"GET", "/_sim/events", "127.0.0.1:9", "evil.example:4566", "", 403},
		"events here":                {"GET", "/_sim/events", "127.0.0.1:9", "localhost:4566", "", 200},
		"endpoints by a page's name": {"GET", "/_sim/endpoints", "127.0.0.1:9", "evil.example", "", 403},
		"endpoints here":             {"GET", "/_sim/endpoints", "127.0.0.1:9", "[::1]", "", 200},
		"a report by a page's name":  {"GET", "/_sim/reports/1/2/3/4", "127.0.0.1:9", "127.0.0.1.evil.example", "", 403},
		"no report here":             {"GET", "/_sim/reports/1/2/3/4", "127.0.0.1:9", "127.0.0.1:4566", "", 404},
		"a form":                     {"POST", "/_sim/faults", "127.0.0.1:9", "127.0.0.1:4566", "text/plain", 415},
		"no such path":               {"GET", "/_sim/secrets", "127.0.0.1:9", "127.0.0.1:4566", "", 404},
		"no such account":            {"GET", "/_sim/state?account=1", "127.0.0.1:9", "127.0.0.1:4566", "", 404},
		"no such region":             {"GET", "/_sim/state?region=us-east-1&account=" + first.ID, "127.0.0.1:9", "127.0.0.1:4566", "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(`{"operation":"Never"}`))
			r.RemoteAddr, r.Host = tt.remote, tt.host
			r.Header.Set("Content-Type", tt.kind)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want {
				body, _ := io.ReadAll(w.Body)
				t.Errorf("status %d, want %d: %s", w.Code, tt.want, body)
			}
		})
	}
}

// TestOtherMachines: with AllowRemote others reach the names of endpoints and the
// reports, whatever they call this machine, and still not what was sent.
func TestOtherMachines(t *testing.T) {
	s := startSim(t, func(c *Config) { c.AllowRemote = true })
	h := s.controlHandler()
	for path, want := range map[string]int{
		"/_sim/endpoints": 200, "/_sim/reports/1/2/3/4": 404, "/_sim/events": 403, "/_sim/state": 403, "/_sim/faults": 403,
	} {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr, r.Host = "192.0.2.7:9", "sim.example:4566"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", path, w.Code, want)
		}
	}
}

// TestState: two runs that did the same by another way have the same state, and
// any difference shows.
func TestState(t *testing.T) {
	ca := newCA(t, "State CA")
	run := func(detour bool) (*Sim, string) {
		s := startSim(t)
		c := s.client(first, region)
		create := func(name string) {
			_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name})
			wantCode(t, err, "")
		}
		names := []string{"a", "b"}
		if detour {
			names = []string{"x", "b", "a"}
		}
		for _, n := range names {
			create(n)
		}
		if detour {
			_, err := c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: aws.String("x")})
			wantCode(t, err, "")
		}
		id := ca.mustRegister(t, c)
		_, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("all"), PolicyDocument: aws.String(allowAll)})
		wantCode(t, err, "")
		tables := s.tables(first)
		name := keyed(t, tables, "manifest")
		items := []string{"k1", "k2"}
		if detour {
			items = []string{"k2", "k1"}
		}
		for _, k := range items {
			_, err := tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: row{"pk": str(k)}})
			wantCode(t, err, "")
		}
		text, err := s.State(first.ID, region)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{id, `"pk"`, `"autoRegistration": true`, "iot:Data-ATS"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the state lacks %s:\n%s", want, text)
			}
		}
		if !json.Valid(text) {
			t.Error("the state is not JSON")
		}
		return s, string(text)
	}
	s, one := run(false)
	_, two := run(true)
	if one != two {
		t.Errorf("the same registrations by another way:\n%s\nand\n%s", one, two)
	}
	if again, err := s.State(first.ID, region); err != nil || string(again) != one {
		t.Errorf("asking changes the state: %v", err)
	}
	if _, body := debugCall(t, s, "GET", fmt.Sprintf("/_sim/state?account=%s&region=%s", first.ID, region), ""); body != one {
		t.Error("the endpoint answers another state than State")
	}
	c := s.client(first, region)
	for what, change := range map[string]func() error{
		"an item": func() error {
			_, err := s.tables(first).PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("manifest"), Item: row{"pk": str("k1"), "n": num(1)}})
			return err
		},
		"an attribute": func() error {
			_, err := c.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: aws.String("a"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"k": "v"}}})
			return err
		},
		"a policy version": func() error {
			_, err := c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String("all"), PolicyDocument: aws.String(connectPolicy)})
			return err
		},
	} {
		before, _ := s.State(first.ID, region)
		wantCode(t, change(), "")
		if after, _ := s.State(first.ID, region); string(after) == string(before) {
			t.Errorf("%s changed and the state did not", what)
		}
	}
	if _, err := s.State("1", region); err == nil {
		t.Error("an account that is not there has a state")
	}
}

func FuzzFault(f *testing.F) {
	f.Add([]byte(`{"operation":"List*","every":2,"times":2,"code":"x","status":503}`))
	f.Add([]byte(`{"rate":0.2,"seed":7,"latency":"250ms"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		one, err := ParseFault(text)
		if err != nil {
			return
		}
		fs := &faults{}
		if _, err := fs.arm(one); err != nil {
			t.Fatalf("%s parses and cannot be armed: %v", text, err)
		}
		fs.meet("Any")
	})
}
