package main

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
	"mintmark/issuer/batch"
)

// inBatch is a certificate as a batch lists it.
func inBatch(t *testing.T, name string) batch.Listed {
	t.Helper()
	key := pkitest.Key(t, "P-256")
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return batch.Listed{Device: name, Inventory: name, Certificate: c, Chain: []*x509.Certificate{c}}
}

func TestAWSThings(t *testing.T) {
	l := awsThings(batch.Plan{}, json.RawMessage(`{"Parameters":{}}`))
	line, err := l.Add(inBatch(t, "pump/1"))
	var got map[string]string
	if err != nil || json.Unmarshal(line, &got) != nil || line[len(line)-1] != '\n' || strings.Count(string(line), "\n") != 1 {
		t.Fatalf("%s, %v", line, err)
	}
	if len(got) != 3 || strings.Contains(got["ThingName"], "/") || !strings.HasPrefix(got["CertificatePem"], "-----BEGIN CERTIFICATE") || !strings.HasPrefix(got["CACertificatePem"], "-----BEGIN CERTIFICATE") {
		t.Errorf("the line is %v", got)
	}
	// A thing is called as the server calls it: by the inventory.
	one := inBatch(t, "pump-1")
	one.Inventory = "0102"
	if line, err = l.Add(one); err != nil || !strings.HasPrefix(string(line), `{"ThingName":"0102",`) {
		t.Errorf("%s, %v", line, err)
	}
	if !json.Valid(l.With) || l.Beside != "aws-template.json" {
		t.Errorf("beside is %s: %s", l.Beside, l.With)
	}
}

// written is what a list writes of so many devices.
func written(t *testing.T, l batch.List, count int, device func(int) batch.Listed) (content []byte) {
	t.Helper()
	for i := range count {
		line, err := l.Add(device(i))
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, line...)
	}
	end, err := l.End()
	if err != nil {
		t.Fatal(err)
	}
	return append(content, end...)
}

func TestDPSEnrollments(t *testing.T) {
	l := dpsEnrollments()
	content := written(t, l, 23, func(i int) batch.Listed { return inBatch(t, fmt.Sprintf("PUMP-%d", i)) })
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	counts := make([]int, len(lines))
	for i, line := range lines {
		var call struct {
			Mode        string
			Enrollments []struct {
				RegistrationID string `json:"registrationId"`
				Status         string `json:"provisioningStatus"`
			}
		}
		if err := json.Unmarshal([]byte(line), &call); err != nil || call.Mode != "create" {
			t.Fatalf("%s, %v", line, err)
		}
		counts[i] = len(call.Enrollments)
		if e := call.Enrollments[0]; e.RegistrationID != fmt.Sprintf("pump-%d", 10*i) || e.Status != "enabled" && e.Status != "Enabled" {
			t.Errorf("line %d begins with %+v", i, e)
		}
	}
	if fmt.Sprint(counts) != "[10 10 3]" {
		t.Errorf("the calls have %v enrollments", counts)
	}
	for _, name := range []string{"pump/1", "pump.", ""} {
		if line, err := l.Add(inBatch(t, name)); err == nil {
			t.Errorf("%q: %s", name, line)
		}
	}
}

// TestTargetEnrollments: what the server has for the devices by the names of its inventory, ten
// a line; those that it leaves out are missing.
func TestTargetEnrollments(t *testing.T) {
	var asked []int
	l := targetEnrollments(func(devices []string) ([]json.RawMessage, error) {
		asked = append(asked, len(devices))
		var list []json.RawMessage
		for _, d := range devices {
			if d != "dev-3" {
				list = append(list, json.RawMessage(fmt.Sprintf(`{"registrationId":%q}`, d)))
			}
		}
		return list, nil
	})
	one := inBatch(t, "pump")
	content := written(t, l, 511, func(i int) batch.Listed {
		one.Inventory = fmt.Sprintf("dev-%d", i)
		return one
	})
	for i, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		var call struct {
			Mode        string
			Enrollments []json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &call); err != nil || call.Mode != "create" || len(call.Enrollments) > 10 {
			t.Errorf("line %d: %s, %v", i, line, err)
		}
	}
	if n := strings.Count(string(content), "registrationId"); n != 510 || fmt.Sprint(asked) != "[500 11]" {
		t.Errorf("%d enrollments, asked for %v", n, asked)
	}
	failing := targetEnrollments(func([]string) ([]json.RawMessage, error) {
		return nil, errors.New("the device has nothing for ${product}")
	})
	if _, err := failing.Add(one); err != nil {
		t.Error(err)
	}
	if _, err := failing.End(); err == nil {
		t.Error("an enrollment that the server does not make is left out without a word")
	}
}

func TestBatchPaceWords(t *testing.T) {
	now := batch.Progress{Total: 1000, Issued: 600, Refused: 100, Before: 400}
	if got := batchPaceWords(now, 2*time.Second); got != " 150/s, 2s left" {
		t.Errorf("got %q", got)
	}
	// RSA: the first part of 500 takes minutes.
	if got := batchPaceWords(batch.Progress{Total: 1000, Issued: 400, Before: 400, Keys: 30}, 20*time.Second); got != " 1.5 keys/s, 6m20s left" {
		t.Errorf("keys: %q", got)
	}
	if got := batchPaceWords(batch.Progress{Total: 1000, Issued: 400, Before: 400}, time.Second); got != "" {
		t.Errorf("before anything is known: %q", got)
	}
}

// TestBatchSaysThatItWaits: people see at once that the server is away, and that it is back.
func TestBatchSaysThatItWaits(t *testing.T) {
	var err strings.Builder
	p := newBatchProgress(&app{err: &err})
	for _, why := range []string{"", "connection refused", "connection reset", ""} {
		p.update(batch.Progress{Total: 10, Waiting: why})
	}
	p.end(true)
	if want := "nothing is issued at the moment, and the server is asked again: connection refused\nthe server answers again\n"; err.String() != want {
		t.Errorf("said: %q, want %q", err.String(), want)
	}
}

// TestOnlyRegistrationIDs: what DPS would not take is found before anything is issued, in a
// certification request, too.
func TestOnlyRegistrationIDs(t *testing.T) {
	request := func(name string) batch.Item {
		return batch.Item{CSR: pkitest.CSR(t, pkitest.Key(t, "P-256"), pkix.Name{CommonName: name})}
	}
	for _, tt := range []struct {
		item batch.Item
		good bool
	}{
		{batch.Item{Name: "PUMP-1"}, true},
		{batch.Item{Name: "pump/1"}, false},
		{request("PUMP-1"), true},
		{request("pump/1"), false},
		{request(""), false},
		{batch.Item{CSR: []byte("no request")}, true},
	} {
		for _, err := range onlyRegistrationIDs(func(yield func(batch.Item, error) bool) { yield(tt.item, nil) }) {
			if (err == nil) != tt.good {
				t.Errorf("%+v: %v", tt.item, err)
			}
		}
	}
}
