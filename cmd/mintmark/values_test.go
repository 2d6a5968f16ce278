package main

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	start := time.Date(2026, 2, 28, 12, 0, 0, 0, time.UTC)
	good := func(text string, want time.Time) {
		t.Helper()
		var s span
		if err := s.Set(text); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := s.after(start); !got.Equal(want) {
			t.Errorf("%s ends at %v, want %v", text, got, want)
		}
	}
	bad := func(text string) {
		t.Helper()
		var s span
		if err := s.Set(text); err == nil {
			t.Errorf("%q is taken for %v", text, s.after(start).Sub(start))
		}
	}
	good("20y", time.Date(2046, 2, 28, 12, 0, 0, 0, time.UTC)) // by the calendar, leap days and all
	good("6mo", time.Date(2026, 8, 28, 12, 0, 0, 0, time.UTC))
	good("90d", start.Add(90*24*time.Hour))
	good("36h", start.Add(36*time.Hour))
	good("1h30m", start.Add(90*time.Minute))
	bad("")
	bad("20")
	bad("-1d")
	bad("0d")
	bad("0s")
	bad("-36h")
	bad("101y") // nobody means this
	bad("1y6mo")
	bad("99999999999999999999d")
}

func TestParseSerial(t *testing.T) {
	good := func(text, want string) {
		t.Helper()
		if got, err := parseSerial(text); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	bad := func(text string) {
		t.Helper()
		if got, err := parseSerial(text); err == nil {
			t.Errorf("%q is taken for %q", text, got)
		}
	}
	good("1ac091115ea6", "1ac091115ea6")
	good("1A:C0:91:11:5E:A6", "1ac091115ea6")
	good("0x1ac", "01ac")
	good("001ac0", "1ac0") // a leading zero octet is only the sign of the DER integer
	bad("")
	bad("0")
	bad("xyz")
	bad("1ac091115ea6/..")
	bad("112233445566778899001122334455667788990011") // 21 octets
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2027-01-31":           time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC),
		"2027-01-31T12:00:00Z": time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC),
		"30d":                  time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseMoment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := parseMoment("soon", now); err == nil {
		t.Error("soon is a time")
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("press\x1b[2J\n\u009b1\u202e\u2028"); got != "press?[2J??1??" {
		t.Errorf("control characters reach the terminal: %q", got)
	}
}
