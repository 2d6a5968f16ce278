package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// span is a length of time on the command line: 20y, 90d, 36h. Years and months
// count by the calendar.
type span struct {
	text   string
	years  int
	months int
	length time.Duration
}

func (s *span) String() string { return s.text }

func (s *span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	*s = span{}
	wrong := fmt.Errorf("%q is not a length of time as in 20y, 6mo, 90d or 36h", text)
	count := func(unit string) (int, bool, error) {
		digits, ok := strings.CutSuffix(text, unit)
		if !ok {
			return 0, false, nil
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 100*365 {
			return 0, false, wrong
		}
		return n, true, nil
	}
	for _, unit := range []struct {
		name string
		into func(int)
	}{
		{"y", func(n int) { s.years = n }},
		{"mo", func(n int) { s.months = n }},
		{"d", func(n int) { s.length = time.Duration(n) * 24 * time.Hour }},
	} {
		n, ok, err := count(unit.name)
		if err != nil {
			return err
		}
		if ok {
			unit.into(n)
			if s.years > 100 || s.months > 1200 {
				return fmt.Errorf("%q is longer than 100 years", text)
			}
			s.text = text
			return nil
		}
	}
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		return wrong
	}
	s.text, s.length = text, length
	return nil
}

// after is the end of the span that begins at t.
func (s *span) after(t time.Time) time.Time { return t.AddDate(s.years, s.months, 0).Add(s.length) }

// parseMoment reads a date, a time, or a span from now.
func parseMoment(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	var s span
	if err := s.Set(text); err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date as in 2027-01-31 nor a length of time as in 30d", text)
	}
	return s.after(now), nil
}

// parseSerial takes a serial number as any tool prints it: with colons, in
// capitals, with 0x, without the leading zero.
func parseSerial(text string) (string, error) {
	s := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(text))
	s = strings.TrimPrefix(s, "0x")
	if len(s)%2 == 1 {
		s = "0" + s
	}
	for strings.HasPrefix(s, "00") {
		s = s[2:]
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 || len(b) > 20 {
		return "", fmt.Errorf("%q is not a serial number: give it in hexadecimal, as mintmark cert list shows it", text)
	}
	return s, nil
}
