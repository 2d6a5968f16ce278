package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSimFunctions(t *testing.T) {
	functions, err := parseFunctions([]string{"hook=/a/bootstrap", "jitr=/a/bootstrap"},
		[]string{"hook/_HANDLER=provision", "TABLE=t", "jitr/_HANDLER=jitr", "URL=https://x/y=z", "hook/TABLE=other"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"hook": {"TABLE=t", "URL=https://x/y=z", "_HANDLER=provision", "TABLE=other"}, // the last one wins
		"jitr": {"TABLE=t", "URL=https://x/y=z", "_HANDLER=jitr"},
	} {
		if got := functions[name]; !slices.Equal(got.Env, want) || got.Path != "/a/bootstrap" {
			t.Errorf("%s is %+v, want %v", name, got, want)
		}
	}
	for _, tt := range []struct{ functions, environment string }{
		{"hook", ""}, {"=x", ""}, {"hook=", ""}, {"hook=a hook=b", ""}, {"hook=a", "KEY"}, {"hook=a", "=v"}, {"hook=a", "jitr/KEY=v"},
		{"hook=a", "hook/=v"}, {"hook=a", "/KEY=v"},
	} {
		if _, err := parseFunctions(strings.Fields(tt.functions), strings.Fields(tt.environment)); err == nil {
			t.Errorf("--function %q --function-env %q are taken", tt.functions, tt.environment)
		}
	}
}

func TestSimTimeouts(t *testing.T) {
	o := simOptions{scale: 1, functions: []string{"hook=/a", "jitr=/a"}, timeouts: []string{"hook=5s"}}
	if _, err := o.parse(); err != nil || o.config.Functions["hook"].Timeout != 5*time.Second || o.config.Functions["jitr"].Timeout != 0 {
		t.Errorf("%+v, %v", o.config.Functions, err)
	}
	for _, list := range [][]string{{"hook"}, {"hook="}, {"hook=5"}, {"hook=soon"}, {"hook=0s"}, {"hook=-5s"}, {"=5s"}, {"other=5s"}, {"hook=5s", "hook=6s"}} {
		o := simOptions{scale: 1, functions: []string{"hook=/a"}, timeouts: list}
		if _, err := o.parse(); err == nil {
			t.Errorf("--function-timeout %q is taken", list)
		}
	}
}

func TestSimOptions(t *testing.T) {
	o := simOptions{quotas: true, scale: 20, buckets: []string{"b-1=/tmp"}, faults: []string{`{"operation":"mqtt:*","every":3,"latency":"5ms"}`}}
	faults, err := o.parse()
	if err != nil || len(faults) != 1 || faults[0].Every != 3 || o.config.Quotas.Scale != 20 || o.config.Buckets["b-1"] != "/tmp" {
		t.Errorf("%+v, %+v, %v", o.config, faults, err)
	}
	for _, o := range []simOptions{
		{scale: 2}, {quotas: true}, {scale: 1, buckets: []string{"b"}}, {scale: 1, buckets: []string{"b=/a", "b=/b"}}, {scale: 1, buckets: []string{"=/a"}},
		{scale: 1, faults: []string{"{"}}, {scale: 1, faults: []string{`{"rate":2}`}}, {scale: 1, faults: []string{`{"latency":"soon"}`}},
		{scale: 1, faults: []string{`{"nonsense":1}`}},
	} {
		if _, err := o.parse(); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
