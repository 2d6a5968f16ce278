package dpssim

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// put writes an identity of a hub: a call whose effect can be seen.
func (s *Sim) put(t testing.TB, id string) (status int, retryAfter, body string) {
	t.Helper()
	host := s.Config().Hubs[0]
	status, header, body := s.call(t, "PUT", "https://"+host+"/devices/"+id+"?api-version=2021-04-12", `{"deviceId":"`+id+`"}`,
		"Authorization", s.sas(t, host), "Content-Type", "application/json")
	return status, header.Get("Retry-After"), body
}

// sas is a shared access signature that is good for a host.
func (s *Sim) sas(t testing.TB, host string) string {
	t.Helper()
	policy := ownerPolicy
	if slices.Contains(s.Config().Hubs, host) {
		policy = hubPolicy
	}
	return sign(t, host, s.now().Add(time.Minute).Unix(), policy, s.Config().Keys[policy])
}

func TestFaults(t *testing.T) {
	s := startSim(t)
	s.Inject(Fault{Operation: "hub.putDevice", Skip: 1, Times: 1, Status: 429, RetryAfter: 7})
	s.Inject(Fault{Operation: "hub.putDevice", Skip: 2, Times: 1, AfterEffect: true})
	s.Inject(Fault{Operation: "hub.*", Skip: 3, Times: 1, Status: 500, Message: "out of order", AfterEffect: true})
	s.Inject(Fault{Operation: "hub.getDevice", Status: 503})
	for i, tt := range []struct {
		status int
		there  bool
		retry  string
		text   string
	}{
		{200, true, "", `"deviceId":"a"`},
		{429, false, "7", "ErrorCode:ThrottlingException;injected fault"},
		{0, true, "", ""},
		{500, true, "", "ErrorCode:ServerError;out of order"},
		{200, true, "", `"deviceId":"e"`},
	} {
		id := string(rune('a' + i))
		status, retry, body := s.put(t, id)
		if status != tt.status || retry != tt.retry || !strings.Contains(body, tt.text) {
			t.Errorf("%s: %d, Retry-After %q, %s", id, status, retry, body)
		}
		if there := strings.Contains(string(s.State()), `"deviceId": "`+id+`"`); there != tt.there {
			t.Errorf("%s is there: %v", id, there)
		}
	}
	// Without Times there is no end.
	host := s.Config().Hubs[0]
	for range 3 {
		if status, _, _ := s.call(t, "GET", "https://"+host+"/devices/a?api-version=2021-04-12", "", "Authorization", s.sas(t, host)); status != 503 {
			t.Errorf("status %d", status)
		}
	}
	s.ClearFaults()
	if status, _, _ := s.call(t, "GET", "https://"+host+"/devices/a?api-version=2021-04-12", "", "Authorization", s.sas(t, host)); status != 200 {
		t.Errorf("status %d", status)
	}
	want := "[hub.putDevice hub.putDevice hub.putDevice hub.putDevice hub.putDevice hub.getDevice hub.getDevice hub.getDevice hub.getDevice]"
	if got := fmt.Sprint(s.Calls()); got != want {
		t.Errorf("calls %s", got)
	}
	if events := s.eventsOf(t, "fault.injected"); len(events) != 6 {
		t.Errorf("events %+v", events)
	}
}

// Every operation that this half of the simulator has can be disturbed, in the format
// of its service.
func TestFaultFormats(t *testing.T) {
	s := startSim(t)
	s.Inject(Fault{Status: 503, Code: 503123, Message: "so be it"})
	for url, want := range map[string]string{
		"https://login.microsoftonline.com/common/discovery/instance":                   `"error_codes":[503123]`,
		"https://management.azure.com" + s.serviceID() + "?api-version=2022-02-05":      `"code":503123`,
		"https://" + s.Config().Hubs[0] + "/devices/a?api-version=2021-04-12":           `ErrorCode:ServerError;so be it`,
		"https://" + s.Config().serviceHost() + "/enrollments/a?api-version=2021-10-01": `"errorCode":503123`,
	} {
		authorization := ""
		switch {
		case strings.Contains(url, managementHost):
			token, err := s.tokens.issue(managementAudience)
			if err != nil {
				t.Fatal(err)
			}
			authorization = "Bearer " + token
		case !strings.Contains(url, loginHost):
			host, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
			authorization = s.sas(t, host)
		}
		status, _, body := s.call(t, "GET", url, "", "Authorization", authorization)
		if status != 503 || !strings.Contains(body, want) || !strings.Contains(body, "so be it") {
			t.Errorf("%s: %d %s", url, status, body)
		}
	}
}

func TestFaultsByHTTP(t *testing.T) {
	s := startSim(t)
	at := s.local() + "/_sim/faults"
	if status, _, body := s.call(t, "POST", at, `{"operation":"hub.putDevice","status":500,"times":2}`, "Content-Type", "application/json"); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	if status, _, _ := s.put(t, "a"); status != 500 {
		t.Errorf("status %d", status)
	}
	if status, _, body := s.call(t, "GET", at, ""); status != 200 || !strings.Contains(body, `"times": 1`) {
		t.Errorf("%d %s", status, body)
	}
	for body, kind := range map[string]string{
		`{"status":200}`:    "application/json",
		`{"typo":1}`:        "application/json",
		`{"status":500}`:    "text/plain",
		`{"status":500} {}`: "application/json",
		``:                  "application/json",
		`{"status":500,` + strings.Repeat(" ", maxFaultBody) + `"times":1}`: "application/json",
	} {
		if status, _, _ := s.call(t, "POST", at, body, "Content-Type", kind); status < 400 {
			t.Errorf("%.40q of type %s: %d", body, kind, status)
		}
	}
	if status, _, _ := s.call(t, "DELETE", at, ""); status != 204 {
		t.Error("the faults cannot be removed")
	}
	if status, _, _ := s.put(t, "a"); status != 200 {
		t.Errorf("status %d", status)
	}
	// Names that lead to this machine from a web page are refused.
	for _, path := range []string{"/_sim/faults", "/_sim/state", "/_sim/calls", "/_sim/events"} {
		if status, _, _ := s.call(t, "GET", "https://"+managementHost+path, ""); status != 403 {
			t.Errorf("%s by a name of another: %d", path, status)
		}
		if status, _, _ := s.call(t, "GET", s.local()+path, ""); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestFaultRefusals(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{"skip":-1}`, `{"times":-1}`, `{"retryAfter":-1,"status":500}`, `{"status":200}`, `{"status":600}`, `{"code":1}`, `{"message":"a"}`,
		`{"retryAfter":1}`, `{"unknown":1}`, `{} {}`, `{"status":"500"}`, `{"operation":"` + strings.Repeat("a", 257) + `"}`,
	} {
		if f, err := ParseFault([]byte(text)); err == nil {
			t.Errorf("%s is taken as %+v", text, f)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a fault that makes no sense is injected")
		}
	}()
	startSim(t).Inject(Fault{Status: 200})
}

func FuzzParseFault(f *testing.F) {
	f.Add([]byte(`{"operation":"hub.*","skip":1,"times":2,"status":429,"code":429001,"message":"a","retryAfter":3,"afterEffect":true}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"status":200}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		one, err := ParseFault(text)
		if err == nil && one.check() != nil || err != nil && one != (Fault{}) {
			t.Fatalf("%s is read as %+v, %v", text, one, err)
		}
	})
}

func TestEventRing(t *testing.T) {
	s := startSim(t)
	for range maxEvents + 10 {
		s.note("test", "again")
	}
	e := s.events.list(url.Values{"kind": {"test"}})
	if len(e) != maxEvents || e[0].Seq != 11 || e[maxEvents-1].Seq != maxEvents+10 {
		t.Errorf("%d events, from %d", len(e), e[0].Seq)
	}
	if e := s.events.list(url.Values{"since": {fmt.Sprint(maxEvents + 8)}}); len(e) != 2 {
		t.Errorf("%d events since", len(e))
	}
}

func TestRates(t *testing.T) {
	c := newClock()
	r := newRates(&Limits{Operations: 3, Registrations: 1, Polls: 2}, c.now)
	take := func(name string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	take("two at once", r.operations(2), true)
	take("two more", r.operations(2), false)
	take("one more, as nothing was taken", r.operations(1), true)
	c.move(30 * time.Second)
	take("half a minute later", r.operations(1), false)
	c.move(30 * time.Second)
	take("a minute later", r.operations(3), true)
	take("registration", r.registrations(), true)
	take("second registration", r.registrations(), false)
	for range 2 {
		take("poll", r.polls("a"), true)
	}
	take("third poll", r.polls("A"), false)
	take("another device's poll", r.polls("b"), true)
	c.move(10 * time.Second)
	take("poll 10 s later", r.polls("a"), true)
	if none := newRates(nil, c.now); !none.operations(1e9) || !none.registrations() || !none.polls("a") {
		t.Error("without limits something is refused")
	}
}
