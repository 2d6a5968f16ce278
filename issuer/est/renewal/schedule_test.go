package renewal

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestParseFraction(t *testing.T) {
	for text, want := range map[string]string{
		"2/3": "2/3", "0.8": "8/10", "80%": "80/100", "0.666": "666/1000", "1/1000000": "1/1000000",
		"": "", "0": "", "1": "", "0/3": "", "3/3": "", "4/3": "", "1/0": "", "0.": "", "0.0": "", "100%": "", "0%": "", "-1/3": "",
		"1/-3": "", "2/3/4": "", "two thirds": "", "0.0000000001": "", "1e9": "", "0x1/3": "", " 1/3": "", "+1/3": "", "1_0/30": "",
	} {
		f, err := ParseFraction(text)
		if want == "" && err == nil {
			t.Errorf("%q: accepted as %v", text, f)
		}
		if want != "" && (err != nil || f.String() != want) {
			t.Errorf("%q: %v, %v", text, f, err)
		}
	}
	if (Fraction{}).String() != "2/3" {
		t.Error("the zero value is not the default")
	}
}

func TestDue(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	distinct := make(map[time.Time]bool)
	for _, at := range []string{"2/3", "1/2", "0.9", "99%", "1/1000"} {
		f, err := ParseFraction(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, life := range []time.Duration{time.Minute, time.Hour, 90 * 24 * time.Hour, 50 * 365 * 24 * time.Hour} {
			for n := range 50 {
				c := &x509.Certificate{Raw: []byte{byte(n)}, NotBefore: start, NotAfter: start.Add(life)}
				due := Due(c, f)
				earliest := f.of(life)
				latest := earliest + min(earliest/spread, (life-earliest)/2)
				if since := due.Sub(start); since < earliest.Truncate(time.Second) || since > latest {
					t.Fatalf("%s of %v: due after %v, not between %v and %v", at, life, since, earliest, latest)
				}
				if !due.Equal(Due(c, f)) {
					t.Fatal("not the same twice")
				}
				distinct[due] = true
			}
		}
	}
	if len(distinct) < 500 {
		t.Errorf("%d moments for 1000 certificates: they would come at once", len(distinct))
	}
	// The whole range of a certificate without an end (RFC 5280, Section 4.1.2.5).
	endless := &x509.Certificate{NotBefore: start, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	if due := Due(endless, Fraction{}); due.Before(start.AddDate(100, 0, 0)) {
		t.Errorf("endless: due %v", due)
	}
}

func TestBackoff(t *testing.T) {
	year := 365 * 24 * time.Hour
	for _, c := range []struct {
		failures    int
		life, asked time.Duration
		least, most time.Duration
	}{
		{1, year, 0, time.Minute, 75 * time.Second},
		{2, year, 0, 2 * time.Minute, 150 * time.Second},
		{5, year, 0, 16 * time.Minute, 20 * time.Minute},
		{40, year, 0, 6 * time.Hour, 450 * time.Minute},
		{1 << 40, year, 0, 6 * time.Hour, 450 * time.Minute},
		{40, time.Hour, 0, 72 * time.Second, 90 * time.Second},
		{1, time.Second, 0, time.Second, 1250 * time.Millisecond},
		{1, 0, 0, time.Minute, 75 * time.Second},
		{1, year, 10 * time.Minute, 10 * time.Minute, 750 * time.Second},
		{1, year, year, 6 * time.Hour, 450 * time.Minute},
	} {
		for range 100 {
			if got := backoff(c.failures, c.life, c.asked); got < c.least || got > c.most {
				t.Fatalf("%d failures, life %v, asked %v: %v, not between %v and %v", c.failures, c.life, c.asked, got, c.least, c.most)
			}
		}
	}
}
