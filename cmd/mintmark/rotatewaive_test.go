package main

import (
	"strings"
	"testing"
)

func TestAnchorRows(t *testing.T) {
	columns := []string{"device", "at", "chains"}
	rows, err := parseAnchorRows(strings.NewReader("\ufeffDevice, at,chains\r\npress-1,2027-01-31T12:00:00Z,yes\n\"press,2\",,\n"), columns)
	if err != nil || len(rows) != 2 || rows[0]["at"] != "2027-01-31T12:00:00Z" || rows[1]["device"] != "press,2" {
		t.Fatalf("%v %v", rows, err)
	}
	devices, err := reportedRows("x.csv", rows)
	if err != nil || len(devices) != 2 || !devices[0].Chains || devices[0].At == nil || devices[1].Chains || devices[1].At != nil {
		t.Errorf("%+v %v", devices, err)
	}
	for name, bad := range map[string][2]string{
		"empty":              {"", "it is empty"},
		"heading only":       {"device\n", "names no device"},
		"no heading":         {"press-1\npress-2\n", "no column"},
		"no device":          {"at\n2027-01-31T12:00:00Z\n", "no column device"},
		"column twice":       {"device,device\na,b\n", "there twice"},
		"unknown column":     {"device,serial\na,b\n", `no column "serial"`},
		"a row too short":    {"device,at\na\n", "wrong number of fields"},
		"a row too long":     {"device\na,b\n", "wrong number of fields"},
		"an empty name":      {"device,at\n ,\n", "row 1 names no device"},
		"twice":              {"device\na\nb\na\n", "rows 1 and 3"},
		"an open quote":      {"device\n\"a\n", "quote"},
		"a quote inside":     {"device\na\"b\n", "quote"},
		"not a heading \x00": {"\x00\n", "no column"},
	} {
		if _, err := parseAnchorRows(strings.NewReader(bad[0]), columns); err == nil || !strings.Contains(err.Error(), bad[1]) {
			t.Errorf("%s: %v, want %q", name, err, bad[1])
		}
	}
	if _, err := parseAnchorRows(strings.NewReader("device,at\na,\n"), []string{"device"}); err == nil {
		t.Error("a column that is not taken here")
	}
	for name, bad := range map[string]map[string]string{
		"time":   {"device": "a", "at": "31.1.2027"},
		"chains": {"device": "a", "chains": "perhaps"},
	} {
		if _, err := reportedRows("x.csv", []map[string]string{bad}); err == nil || !strings.Contains(err.Error(), "row 1: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAnchorRows(f *testing.F) {
	for _, seed := range []string{"device\na\n", "device,at,chains\na,2027-01-31T12:00:00Z,yes\n", "\ufeffdevice\r\n\"a\"\"b\"\r\n", "device\n\n\n", "at\n", "\"", "device,device\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := parseAnchorRows(strings.NewReader(text), []string{"device", "at", "chains"})
		if err != nil {
			if rows != nil {
				t.Error("rows and an error")
			}
			return
		}
		seen := make(map[string]bool)
		for _, row := range rows {
			if d := row["device"]; d == "" || seen[d] {
				t.Errorf("device %q: empty, or there twice", d)
			}
			seen[row["device"]] = true
		}
	})
}
