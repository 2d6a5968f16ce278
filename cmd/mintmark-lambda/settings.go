package main

import (
	"errors"
	"fmt"
	"time"

	"mintmark/awsreg/hook"
)

// settings are a function's environment.
type settings struct {
	table  string        // MINTMARK_TABLE: DynamoDB table of the manifest. Must be set
	policy string        // MINTMARK_POLICY: IoT policy that devices get. Must be set
	maxAge time.Duration // MINTMARK_MAX_AGE: how old the manifest may be, for example 24h
}

// readSettings fails on anything missing or odd: the function then never starts,
// which is seen at once, instead of letting devices in on a guess.
func readSettings(getenv func(string) string) (settings, error) {
	if handler := getenv("_HANDLER"); handler != "jitr" {
		return settings{}, fmt.Errorf("handler %q is unknown: set the function's handler to jitr", handler)
	}
	s := settings{table: getenv("MINTMARK_TABLE"), policy: getenv("MINTMARK_POLICY"), maxAge: hook.DefaultMaxAge}
	if s.table == "" {
		return settings{}, errors.New("MINTMARK_TABLE is not set: it names the manifest's table")
	}
	if s.policy == "" {
		return settings{}, errors.New("MINTMARK_POLICY is not set: it names the IoT policy that devices get")
	}
	if text := getenv("MINTMARK_MAX_AGE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return settings{}, fmt.Errorf("MINTMARK_MAX_AGE: %w", err)
		}
		if d <= 0 {
			return settings{}, fmt.Errorf("MINTMARK_MAX_AGE is %s: it must be positive", d)
		}
		s.maxAge = d
	}
	return s, nil
}
