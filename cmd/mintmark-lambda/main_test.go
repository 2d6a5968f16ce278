package main

import (
	"testing"
	"time"

	"mintmark/awsreg/hook"
)

func TestSettings(t *testing.T) {
	good := map[string]string{"_HANDLER": "jitr", "MINTMARK_TABLE": "t", "MINTMARK_POLICY": "p"}
	with := func(name, value string) func(string) string {
		return func(key string) string {
			if key == name {
				return value
			}
			return good[key]
		}
	}
	s, err := readSettings(with("", ""))
	if err != nil || s != (settings{table: "t", policy: "p", maxAge: hook.DefaultMaxAge}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := readSettings(with("MINTMARK_MAX_AGE", "90m")); err != nil || s.maxAge != 90*time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	for name, value := range map[string]string{
		"_HANDLER": "bootstrap", "MINTMARK_TABLE": "", "MINTMARK_POLICY": "", "MINTMARK_MAX_AGE": "-1h",
	} {
		if _, err := readSettings(with(name, value)); err == nil {
			t.Errorf("%s=%q accepted", name, value)
		}
	}
	if _, err := readSettings(with("MINTMARK_MAX_AGE", "a day")); err == nil {
		t.Error("MINTMARK_MAX_AGE=a day accepted")
	}
}

// An event that is not understood is an error, so that the alarm counts it, and
// no client is needed to say so.
func TestInvokeMalformed(t *testing.T) {
	getenv := func(key string) string {
		return map[string]string{"_HANDLER": "jitr", "MINTMARK_TABLE": "t", "MINTMARK_POLICY": "p", "AWS_REGION": "eu-central-1"}[key]
	}
	handler, err := run(t.Context(), getenv)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"", "null", "{}", `{"certificateId":"x"}`} {
		if _, err := handler.Invoke(t.Context(), []byte(payload)); err == nil {
			t.Errorf("accepted %q", payload)
		}
	}
}
