package ocsp_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/ca/revocation/ocsp"
	"mintmark/internal/ledger"
)

// send serves one request and returns the answer.
func send(h http.Handler, method, path string, body []byte, header ...string) *http.Response {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h.ServeHTTP(w, r)
	return w.Result()
}

// TestGet asks by every way in which clients write base64 into a path.
func TestGet(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	run(t, w.responder)
	issuing := w.authority(t, "issuing")
	slashes := 0
	for i := range 12 { // serial numbers are random: some give slashes and pluses
		device := w.enroll(t, fmt.Sprintf("dev-%d", i))
		request, err := xocsp.CreateRequest(device, issuing, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := base64.StdEncoding.EncodeToString(request)
		slashes += strings.Count(text, "/") + strings.Count(text, "+")
		for name, path := range map[string]string{
			"as it is": text, "escaped": url.QueryEscape(text), "escaped as a path": url.PathEscape(text),
			"a slash more": "/" + text, "without padding": strings.TrimRight(text, "="),
		} {
			answer := send(w.responder, http.MethodGet, ocsp.Path+"issuing/"+path, nil)
			if _, err := xocsp.ParseResponseForCert(read(t, answer), device, issuing); err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s: %v", name, path, err)
			}
		}
	}
	if slashes == 0 {
		t.Error("none of the requests has a slash or a plus")
	}
}

func read(t testing.TB, r *http.Response) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCaching: what is kept may be kept elsewhere, for a while that ends before the
// answer does, and nothing else may (RFC 5019, Section 6.2).
func TestCaching(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	run(t, w.responder)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	request, err := xocsp.CreateRequest(device, issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := ocsp.Path + "issuing/" + url.PathEscape(base64.StdEncoding.EncodeToString(request))
	answer := send(w.responder, http.MethodGet, path, nil)
	body := read(t, answer)
	parsed, err := xocsp.ParseResponseForCert(body, device, issuing)
	if err != nil {
		t.Fatal(err)
	}
	h := answer.Header
	if h.Get("Content-Type") != "application/ocsp-response" || h.Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("header %v of %d bytes", h, len(body))
	}
	if h.Get("Cache-Control") != "max-age=300, public, no-transform, must-revalidate" {
		t.Errorf("Cache-Control %q", h.Get("Cache-Control"))
	}
	if at, err := http.ParseTime(h.Get("Last-Modified")); err != nil || !at.Equal(parsed.ThisUpdate) {
		t.Errorf("Last-Modified %q, %v", h.Get("Last-Modified"), err)
	}
	if at, err := http.ParseTime(h.Get("Expires")); err != nil || at.After(parsed.NextUpdate) || at.Before(parsed.ThisUpdate) {
		t.Errorf("Expires %q, %v", h.Get("Expires"), err)
	}
	tag := h.Get("ETag")
	for name, r := range map[string]*http.Response{
		"the tag":       send(w.responder, http.MethodGet, path, nil, "If-None-Match", tag),
		"several tags":  send(w.responder, http.MethodGet, path, nil, "If-None-Match", `"x", `+tag),
		"the date":      send(w.responder, http.MethodGet, path, nil, "If-Modified-Since", h.Get("Last-Modified")),
		"the tag, HEAD": send(w.responder, http.MethodHead, path, nil, "If-None-Match", tag),
	} {
		if r.StatusCode != http.StatusNotModified || len(read(t, r)) != 0 || r.Header.Get("ETag") != tag {
			t.Errorf("%s: status %d", name, r.StatusCode)
		}
	}
	for name, r := range map[string]*http.Response{
		"another tag": send(w.responder, http.MethodGet, path, nil, "If-None-Match", `"x"`, "If-Modified-Since", h.Get("Last-Modified")),
		"an old date": send(w.responder, http.MethodGet, path, nil, "If-Modified-Since", parsed.ThisUpdate.Add(-time.Second).UTC().Format(http.TimeFormat)),
		"no date":     send(w.responder, http.MethodGet, path, nil, "If-Modified-Since", "yesterday"),
	} {
		if r.StatusCode != http.StatusOK || !bytes.Equal(read(t, r), body) {
			t.Errorf("%s: status %d", name, r.StatusCode)
		}
	}
	if r := send(w.responder, http.MethodHead, path, nil); len(read(t, r)) != 0 || r.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
		t.Errorf("HEAD: %v", r.Header)
	}

	// Not to be kept: by POST, unknown, or a failure.
	stranger := *device
	stranger.SerialNumber = bigOf(t, "7f01")
	unknown, err := xocsp.CreateRequest(&stranger, issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Response{
		"POST":    send(w.responder, http.MethodPost, ocsp.Path+"issuing", request),
		"unknown": send(w.responder, http.MethodGet, ocsp.Path+"issuing/"+url.PathEscape(base64.StdEncoding.EncodeToString(unknown)), nil),
		"garbage": send(w.responder, http.MethodGet, ocsp.Path+"issuing/AAAA", nil),
	} {
		if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("ETag") != "" {
			t.Errorf("%s: status %d, %v", name, r.StatusCode, r.Header)
		}
	}
}

// TestRefusedRequests: what is no request is answered as such, and never by an error of
// HTTP where OCSP has a word for it.
func TestRefusedRequests(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	request, err := xocsp.CreateRequest(device, issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Response{
		"nothing":        send(w.responder, http.MethodPost, ocsp.Path+"issuing", nil),
		"garbage":        send(w.responder, http.MethodPost, ocsp.Path+"issuing", []byte("hello")),
		"too long":       send(w.responder, http.MethodPost, ocsp.Path+"issuing", make([]byte, 11<<10)),
		"GET of nothing": send(w.responder, http.MethodGet, ocsp.Path+"issuing", nil),
		"no base64":      send(w.responder, http.MethodGet, ocsp.Path+"issuing/M%21%21%21", nil),
		"a long path":    send(w.responder, http.MethodGet, ocsp.Path+"issuing/"+strings.Repeat("M", 50<<10), nil),
	} {
		if _, err := xocsp.ParseResponse(read(t, r), nil); r.StatusCode != http.StatusOK || !isStatus(err, xocsp.Malformed) {
			t.Errorf("%s: status %d, %v", name, r.StatusCode, err)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if r := send(w.responder, method, ocsp.Path+"issuing", request); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") == "" {
			t.Errorf("%s: status %d", method, r.StatusCode)
		}
	}
	for _, path := range []string{"/ocsp", "/crl/issuing.crl"} {
		if r := send(w.responder, http.MethodPost, path, request); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
	}
	if r := send(w.responder, http.MethodPost, ocsp.Path+"issuing/more", request); r.StatusCode != http.StatusNotFound {
		t.Errorf("POST with more of a path: status %d", r.StatusCode)
	}
	if r := send(w.responder, http.MethodPost, ocsp.Path+"issuing/", request); r.StatusCode != http.StatusOK {
		t.Errorf("POST with a slash at the end: status %d", r.StatusCode)
	}
}

// TestHashes: the same certificate is asked for by two hashes, and each answer repeats
// the one that it was asked by.
func TestHashes(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	run(t, w.responder)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	check := func(want int) {
		t.Helper()
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA1, crypto.SHA256} {
			answer, err := ask(w.responder, device, issuing, &xocsp.RequestOptions{Hash: hash})
			if err != nil || answer.Status != want || answer.IssuerHash != hash {
				t.Errorf("by %v: %+v, %v", hash, answer, err)
			}
		}
	}
	check(xocsp.Good)
	w.revoke(t, device, ledger.Superseded)
	w.responder.Wake()
	eventually(t, "both are dropped", func() bool { return mustAskStatus(t, w, device, issuing, crypto.SHA256) == xocsp.Revoked })
	check(xocsp.Revoked)
}
