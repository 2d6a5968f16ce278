package main

import (
	"testing"
	"time"

	"mintmark/admin"
)

func TestOrderState(t *testing.T) {
	now := time.Now()
	open := admin.Order{State: admin.OrderOpen, Quantity: 2, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	for want, change := range map[string]func(*admin.Order){
		"open":            func(*admin.Order) {},
		"open, exhausted": func(o *admin.Order) { o.Taken = 2 },
		"open, expired":   func(o *admin.Order) { o.Taken, o.NotAfter = 2, now.Add(-time.Minute) },
		"open, early":     func(o *admin.Order) { o.NotBefore = now.Add(time.Minute) },
		"closed":          func(o *admin.Order) { o.State, o.Taken = admin.OrderClosed, 2 },
	} {
		o := open
		change(&o)
		if got := orderState(o); got != want {
			t.Errorf("%+v is %q, want %q", o, got, want)
		}
	}
}

func TestWindowEnd(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	start := now.AddDate(0, 0, 3)
	end := windowEnd{}
	if err := end.length.Set("14d"); err != nil {
		t.Fatal(err)
	}
	if got, err := end.time(start, now); err != nil || !got.Equal(start.AddDate(0, 0, 14)) {
		t.Errorf("14 days from %v are %v, %v", start, got, err)
	}
	end = windowEnd{notAfter: "2027-02-01"}
	if got, err := end.time(start, now); err != nil || !got.Equal(time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("the date is %v, %v", got, err)
	}
	end = windowEnd{notAfter: "soon"}
	if got, err := end.time(start, now); err == nil {
		t.Errorf("soon is %v", got)
	}
}

func TestParsePast(t *testing.T) {
	now := time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"1h": now.Add(-time.Hour), "7d": now.AddDate(0, 0, -7), "1y": now.AddDate(-1, 0, 0),
		"2027-01-31": time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), "2027-01-31T06:00:00Z": time.Date(2027, 1, 31, 6, 0, 0, 0, time.UTC),
	} {
		if got, err := parsePast(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "yesterday", "-1h", "0h"} {
		if got, err := parsePast(bad, now); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestListFormat(t *testing.T) {
	for file, want := range map[string]string{
		"devices.csv": admin.MediaCSV, "DEVICES.TSV": admin.MediaCSV, "a/b.txt": admin.MediaCSV, "x.ndjson": admin.MediaNDJSON, "x.jsonl": admin.MediaNDJSON,
	} {
		var i admin.ListImport
		if err := listFormat(&i, file, ""); err != nil || i.Media != want {
			t.Errorf("%s is %q, %v; want %q", file, i.Media, err, want)
		}
	}
	var i admin.ListImport
	if err := listFormat(&i, "a/devices.xlsx", ""); err == nil {
		t.Error("a spreadsheet is taken")
	}
	if err := listFormat(&i, "a/devices", "csv"); err != nil || i.Media != admin.MediaCSV || i.File != "devices" {
		t.Errorf("got %+v, %v", i, err)
	}
	if err := listFormat(&i, "x.csv", "xml"); err == nil {
		t.Error("xml is taken")
	}
}
