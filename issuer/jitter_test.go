package issuer

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// TestJitterOf spreads what a production day makes, and gives the same for the same serial
// number. The serial numbers are the first ten thousand, so that it is the same in every run.
func TestJitterOf(t *testing.T) {
	j, err := newJitter("10%", 730*day)
	if err != nil || time.Duration(j) != 73*day {
		t.Fatalf("%v, %v", time.Duration(j), err)
	}
	const made = 10_000
	counts := make(map[time.Duration]int)
	perDay := make(map[int64]int)
	start := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	for i := range int64(made) {
		lacks := j.of(big.NewInt(i + 1))
		if lacks != j.of(big.NewInt(i+1)) || lacks < 0 || lacks > time.Duration(j) || lacks != lacks.Truncate(time.Second) {
			t.Fatalf("serial number %d lacks %v", i+1, lacks)
		}
		counts[lacks]++
		end := start.Add(time.Duration(i) * 8 * time.Hour / made).Add(730*day - lacks)
		perDay[end.Unix()/86400]++
	}
	if len(counts) != jitterSteps {
		t.Errorf("%d lengths of validity, not %d", len(counts), jitterSteps)
	}
	// 78 a step, give or take five standard deviations.
	mean := float64(made) / jitterSteps
	for lacks, n := range counts {
		if math.Abs(float64(n)-mean) > 5*math.Sqrt(mean) {
			t.Errorf("%d certificates lack %v", n, lacks)
		}
	}
	for d, n := range perDay {
		if n > made/30 {
			t.Errorf("%d of %d end on day %d", n, made, d)
		}
	}
	if len(perDay) < 70 {
		t.Errorf("they end on %d days", len(perDay))
	}
}

// TestNewJitter takes shares and lengths of time, and refuses what would leave a certificate
// less than half of its validity.
func TestNewJitter(t *testing.T) {
	const validity = 100 * day
	for _, tt := range []struct {
		text string
		want time.Duration // -1 for refused
	}{
		{"", 0}, {"0%", 0}, {"10%", 10 * day}, {"50%", 50 * day}, {"51%", -1}, {"100%", -1}, {"1.5%", -1}, {"-1%", -1}, {"%", -1},
		{"20d", 20 * day}, {"36h", 36 * time.Hour}, {"50d", 50 * day}, {"51d", -1}, {"-1h", -1}, {"d", -1}, {"ten days", -1}, {"99999d", -1}, {"10", -1},
	} {
		switch j, err := newJitter(tt.text, validity); {
		case tt.want < 0 && err == nil, tt.want >= 0 && (err != nil || time.Duration(j) != tt.want):
			t.Errorf("%q: %v, %v", tt.text, time.Duration(j), err)
		}
	}
}

// TestJitterRefused: a profile says which of its keys is wrong.
func TestJitterRefused(t *testing.T) {
	repeat := 60 * day
	for name, c := range map[string]ProfileConfig{
		"of an IDevID":          {Preset: "device", ValidityJitter: "10%", OutliveIssuer: true},
		"without an end":        {Preset: "device", ValidityJitter: "10%", OutliveIssuer: true, NoExpiry: true},
		"of a claim":            {Preset: "claim", ValidityJitter: "10%"},
		"of an officer":         {Preset: "officer", ValidityJitter: "1d"},
		"longer than half":      {Preset: "device", Validity: 10 * day, ValidityJitter: "6d"},
		"that leaves no repeat": {Preset: "device", Validity: 100 * day, ValidityJitter: "50%", Repeat: &repeat},
	} {
		_, err := NewProfile("p", c, "")
		want := "validity_jitter"
		if c.Repeat != nil {
			want = "repeat"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for preset := range presets {
		p, err := NewProfile("p", ProfileConfig{Preset: preset}, "")
		if err != nil || p.jitter != 0 {
			t.Errorf("preset %s: jitter %v, %v", preset, p.jitter, err)
		}
	}
}

// TestJitterTemplate: notAfter moves earlier and nothing else moves.
func TestJitterTemplate(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 5e8, time.UTC)
	csr, err := parseRequest(pkitest.CSR(t, pkitest.Key(t, "P-256"), pkix.Name{CommonName: "dev-1"}))
	if err != nil {
		t.Fatal(err)
	}
	template := func(jitter string) *x509.Certificate {
		t.Helper()
		p, err := NewProfile("p", ProfileConfig{Preset: "device", ValidityJitter: jitter}, "")
		if err != nil {
			t.Fatal(err)
		}
		id, err := p.authorise(Request{}, csr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.template(csr, id, "issuing", big.NewInt(4711), now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plain, moved := template(""), template("10%")
	j, err := newJitter("10%", 730*day)
	if err != nil {
		t.Fatal(err)
	}
	if lacks := j.of(big.NewInt(4711)); lacks == 0 || !moved.NotAfter.Equal(plain.NotAfter.Add(-lacks)) || !moved.NotBefore.Equal(plain.NotBefore) {
		t.Errorf("from %v to %v, and without jitter to %v", moved.NotBefore, moved.NotAfter, plain.NotAfter)
	}
	if plain.NotAfter != now.Add(730*day).Truncate(time.Second) {
		t.Errorf("without jitter to %v", plain.NotAfter)
	}
}
