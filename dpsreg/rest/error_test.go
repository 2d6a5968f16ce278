package rest

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// The forms of errors, as the services' specifications and clients show them.
var errorBodies = []struct {
	name, body, header string
	want               Error
}{
	{"DPS", `{"errorCode":404201,"trackingId":"8ee1","message":"Enrollment not found.","info":{},"timestampUtc":"2026-11-22T00:00:00Z"}`, "",
		Error{Code: 404201, Message: "Enrollment not found.", TrackingID: "8ee1"}},
	{"DPS, its code in the header alone", `{"message":"no"}`, "412001", Error{Code: 412001, Message: "no"}},
	{"hub", `{"Message":"ErrorCode:DeviceNotFound;E2E-1","ExceptionMessage":"Tracking ID:9d2c-G:1-TimeStamp:11/22/2026 00:00:00"}`, "",
		Error{Message: "ErrorCode:DeviceNotFound;E2E-1", TrackingID: "9d2c-G:1"}},
	{"hub, newer", `{"Message":"{\"errorCode\":404001,\"trackingId\":\"77aa\",\"message\":\"Device pump-1 not registered\"}","ExceptionMessage":""}`, "",
		Error{Code: 404001, Message: "Device pump-1 not registered", TrackingID: "77aa"}},
	{"a code as text", `{"errorCode":"409","message":"x"}`, "", Error{Code: 409, Message: "x"}},
	{"control characters", `{"errorCode":400,"message":"a\u001b[31mb\n\tc\u202ed\u0000"}`, "", Error{Code: 400, Message: "a[31mb cd"}},
	{"wrong types", `{"errorCode":{},"message":[1],"trackingId":5}`, "", Error{}},
	{"a negative code", `{"errorCode":-5}`, "-7", Error{}},
	{"nested without end", `{"message":"{\"message\":\"{\\\"message\\\":\\\"x\\\"}\"}"}`, "", Error{Message: `{"message":"x"}`}},
	{"null", `null`, "", Error{}},
	{"an array", `[]`, "", Error{}},
}

func TestParseError(t *testing.T) {
	for _, test := range errorBodies {
		t.Run(test.name, func(t *testing.T) {
			header := http.Header{}
			if test.header != "" {
				header.Set("x-ms-error-code", test.header)
			}
			test.want.Status = 400
			if got := parseError(400, header, []byte(test.body), time.Now()); *got != test.want {
				t.Errorf("%+v, want %+v", *got, test.want)
			}
		})
	}
	long := parseError(400, nil, []byte(`{"message":"`+strings.Repeat("ü", 5000)+`","trackingId":"`+strings.Repeat("t", 5000)+`"}`), time.Now())
	if n := utf8.RuneCountInString(long.Message); n != maxMessage+3 || len(long.TrackingID) != maxTracking+3 {
		t.Errorf("%d and %d characters", n, len(long.TrackingID))
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"":                              0,
		"3":                             3 * time.Second,
		" 3 ":                           3 * time.Second,
		"0":                             0,
		"-3":                            0,
		"3.5":                           0,
		"soon":                          0,
		"100000":                        maxRetryAfter,
		"99999999999999999999":          0,
		"Sun, 22 Nov 2026 12:00:05 GMT": 5 * time.Second,
		"Sun, 22 Nov 2026 11:00:05 GMT": 0,
		"Sun, 22 Nov 2099 12:00:05 GMT": maxRetryAfter,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {in}}, now); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func FuzzErrorBody(f *testing.F) {
	for _, seed := range errorBodies {
		f.Add([]byte(seed.body), seed.header)
	}
	f.Fuzz(func(t *testing.T, body []byte, code string) {
		e := parseError(418, http.Header{"X-Ms-Error-Code": {code}}, body, time.Now())
		text := e.Error()
		if e.Status != 418 || e.Code < 0 || !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxMessage+maxTracking+100 {
			t.Errorf("%+v", e)
		}
		for _, r := range text {
			if unicode.IsControl(r) || !unicode.IsGraphic(r) {
				t.Errorf("%q has %U", text, r)
			}
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"3", "-1", "Sun, 22 Nov 2026 12:00:05 GMT", "99999999999999999999", "1e9"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if d := retryAfter(value, now); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %v", value, d)
		}
	})
}
