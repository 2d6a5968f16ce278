package awssim

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http/httptest"
	"net/url"
	"testing"
)

// TestLargeFleet registers 20,000 certificates and things and pages through them:
// each once, whatever comes and goes meanwhile.
func TestLargeFleet(t *testing.T) {
	s := startSim(t)
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	const n = 20000
	for i := range n {
		cert := &x509.Certificate{Raw: []byte(fmt.Sprint("certificate ", i)), SerialNumber: big.NewInt(int64(i))}
		caID := "even"
		if i%2 == 1 {
			caID = "odd"
		}
		if _, err := w.addCertificate(cert, statusActive, modeDefault, caID); err != nil {
			t.Fatal(err)
		}
		th, err := w.addThing(fmt.Sprint("thing-", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.attachThing(th, w.certs[certificateID(cert)], false); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(path map[string]string, query url.Values, run func(*call) (any, error), list, token, nextToken string, between func(page int)) map[string]int {
		t.Helper()
		seen := map[string]int{}
		for page := 0; ; page++ {
			out, err := run(&call{w: w, r: httptest.NewRequest("GET", "/", nil), query: query, path: path})
			if err != nil {
				t.Fatal(err)
			}
			m := out.(map[string]any)
			for _, one := range m[list].([]map[string]any) {
				id, ok := one["certificateId"].(string)
				if !ok {
					id = one["thingName"].(string)
				}
				seen[id]++
			}
			next, _ := m[nextToken].(string)
			if next == "" {
				return seen
			}
			query.Set(token, next)
			between(page)
		}
	}
	once := func(what string, seen map[string]int, want int) {
		t.Helper()
		if len(seen) != want {
			t.Errorf("%s: %d, want %d", what, len(seen), want)
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s: %s %d times", what, id, times)
			}
		}
	}
	still := func(int) {}
	once("certificates", pages(nil, url.Values{"pageSize": {"250"}}, listCertificates, "certificates", "marker", "nextMarker", still), n)
	once("ascending", pages(nil, url.Values{"pageSize": {"250"}, "isAscendingOrder": {"true"}}, listCertificates, "certificates", "marker", "nextMarker", still), n)
	once("of a CA", pages(map[string]string{"caCertificateId": "odd"}, url.Values{"pageSize": {"250"}}, listCertificatesByCA, "certificates", "marker", "nextMarker", still), n/2)
	once("things", pages(nil, url.Values{"maxResults": {"250"}}, listThings, "things", "nextToken", "nextToken", still), n)

	// A certificate goes and one comes between any two pages. None of the others is
	// skipped or repeated. Descending, those that come are newer than the marker.
	gone := 0
	seen := pages(nil, url.Values{"pageSize": {"250"}}, listCertificates, "certificates", "marker", "nextMarker", func(page int) {
		for id, cert := range w.certs {
			if cert.caID == "even" {
				delete(w.certs, id)
				gone++
				break
			}
		}
		cert := &x509.Certificate{Raw: []byte(fmt.Sprint("late ", page)), SerialNumber: big.NewInt(1)}
		if _, err := w.addCertificate(cert, statusActive, modeDefault, "late"); err != nil {
			t.Fatal(err)
		}
	})
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s %d times", id, times)
		}
	}
	for id, cert := range w.certs {
		if cert.caID != "late" && seen[id] != 1 {
			t.Errorf("%s was skipped", id)
		}
	}
	if gone == 0 || len(seen) < n-gone {
		t.Errorf("%d seen, %d gone", len(seen), gone)
	}
}
