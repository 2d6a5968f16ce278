package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mintmark/internal/cms"
)

func TestClient(t *testing.T) {
	f := newFixture(t)
	for _, label := range []string{"", "line-a"} {
		anchors, err := f.client(label, nil, false).CACerts(t.Context())
		if err != nil || len(anchors) != 2 {
			t.Fatalf("%d anchors, %v", len(anchors), err)
		}
		key := newKey(t)
		certificate, err := f.client(label, nil, true).Enroll(t.Context(), newCSR(t, key, "client"))
		if err != nil || certificate.CheckSignatureFrom(f.authority.issuing.certificate) != nil {
			t.Fatal(err)
		}
		held := &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
		renewed, err := f.client(label, held, false).Reenroll(t.Context(), newCSR(t, newKey(t), "client"))
		if err != nil || renewed.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
			t.Fatal(err)
		}
	}
	var status *StatusError
	_, err := f.client("", nil, false).Enroll(t.Context(), newCSR(t, newKey(t), "client"))
	if !errors.As(err, &status) || status.Code != 401 || status.Challenge != `Basic realm="factory"` {
		t.Errorf("no password: %v", err)
	}
	_, err = f.client("own", nil, true).Enroll(t.Context(), newCSR(t, newKey(t), "client"))
	if !errors.As(err, &status) || status.Code != 403 || !strings.HasPrefix(status.Text, "refused by rule no-certificate: ") {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := f.client("line b/x?", nil, false).CACerts(t.Context()); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("odd label: %v", err)
	}
	stranger := f.client("", nil, true)
	stranger.RootCAs = x509.NewCertPool()
	if _, err := stranger.Enroll(t.Context(), newCSR(t, newKey(t), "client")); err == nil || errors.As(err, new(*StatusError)) {
		t.Errorf("server of nobody: %v", err)
	}
	for _, url := range []string{"", "http://" + f.address, "https://", ":"} {
		if _, err := (&Client{URL: url}).CACerts(t.Context()); err == nil {
			t.Errorf("URL %q: accepted", url)
		}
	}
}

// answers serves one fixed answer and returns a client for it.
func answers(t *testing.T, status int, header map[string]string, body string) *Client {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &Client{URL: server.URL, RootCAs: roots}
}

func TestClientOddAnswers(t *testing.T) {
	key := newKey(t)
	csr := newCSR(t, key, "odd")
	root := newCA(t, "Odd Root", nil)
	right := sign(t, root, &x509.Certificate{SerialNumber: newSerial(), Subject: named("odd"), NotAfter: time.Now().Add(time.Hour)}, key.Public())
	encode := func(list ...*x509.Certificate) string {
		der, err := cms.CertsOnly(list)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
	ok := map[string]string{"Content-Type": "application/pkcs7-mime; smime-type=certs-only"}
	for name, c := range map[string]struct {
		status int
		header map[string]string
		body   string
		err    string
	}{
		"good":                 {200, ok, encode(right), ""},
		"wrapped":              {200, ok, wrap(encode(right)) + "\r\n", ""},
		"with its chain":       {200, ok, encode(root.certificate, right), ""},
		"type without smime":   {200, map[string]string{"Content-Type": "application/pkcs7-mime"}, encode(right), ""},
		"type in upper case":   {200, map[string]string{"Content-Type": "Application/PKCS7-MIME;smime-type=Certs-Only"}, encode(right), ""},
		"transfer encoding":    {200, map[string]string{"Content-Type": "application/pkcs7-mime", "Content-Transfer-Encoding": "binary"}, encode(right), ""},
		"another type":         {200, map[string]string{"Content-Type": "text/html"}, encode(right), "Content-Type"},
		"no type":              {200, map[string]string{"Content-Type": ""}, encode(right), "Content-Type"},
		"another smime-type":   {200, map[string]string{"Content-Type": "application/pkcs7-mime; smime-type=server-generated-key"}, encode(right), "smime-type"},
		"another key":          {200, ok, encode(root.certificate), "without a certificate for the request's key"},
		"not base64":           {200, ok, "<html>", "decoding answer"},
		"not CMS":              {200, ok, "AAAA", "certs-only"},
		"empty":                {200, ok, "", "certs-only"},
		"endless":              {200, ok, strings.Repeat("A", maxAnswer+1), "more than"},
		"pending without time": {202, nil, "", "Retry-After"},
		"redirect":             {302, map[string]string{"Location": "https://other.example/"}, "", "302"},
		"error with controls":  {400, nil, "bad\x1b[2Jrequest", `"bad\x1b[2Jrequest"`},
		"no content":           {204, nil, "", "204"},
	} {
		certificate, err := answers(t, c.status, c.header, c.body).Enroll(context.Background(), csr)
		switch {
		case c.err == "" && (err != nil || !right.Equal(certificate)):
			t.Errorf("%s: %v", name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || certificate != nil):
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}

	var pending *PendingError
	_, err := answers(t, 202, map[string]string{"Retry-After": "120"}, "").Enroll(context.Background(), csr)
	if !errors.As(err, &pending) || pending.RetryAfter != 2*time.Minute {
		t.Errorf("202: %v", err)
	}
	var status *StatusError
	_, err = answers(t, 503, map[string]string{"Retry-After": "9"}, strings.Repeat("x", 8<<10)).CACerts(context.Background())
	if !errors.As(err, &status) || status.RetryAfter != 9*time.Second || len(status.Text) != 4<<10 {
		t.Errorf("503: %v", err)
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "-5": 0, "": 0, "soon": 0, "99999999999": 365 * 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
